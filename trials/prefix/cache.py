"""The frozen-prefix cache: what a frozen part computes of an example is computed once, for every epoch and every trial.

The bottom k blocks in evaluation mode are a fixed function of the example, so what crosses their upper edge (`Cut`) is
kept per (model weights, data fingerprint, preprocessing, k): one row per token or per example, without padding. It lies
in files that the workers of a machine share (`PrefixFiles`), and during a trial on the GPU, where there is room. A
deeper prefix is computed from the deepest shallower one there is.
"""

import hashlib
import json
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import IO

import torch
from torch import nn

from luthier.trials.data.batches import evaluation_batches
from luthier.trials.data.encoded import Encoded
from luthier.trials.memory import free_gpu_memory, out_of_memory
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.cut import CannotCut, Cut, Forward, Probe, capture, find_cut
from luthier.trials.prefix.narrow import Narrow, find_narrow
from luthier.trials.prefix.packing import MASK, has_padding, packs, without_padding
from luthier.trials.prefix.rows import Rows, layout, mapped, row_numbers
from luthier.trials.prefix.shapes import BATCH, TOKENS, Inputs, size
from luthier.trials.prefix.shared_files import NoRoom, PrefixFiles, machine_files

Collate = Callable[[Encoded, Sequence[int]], Inputs]  # a batch of some examples, on the model's device

GPU_SHARE = 0.25  # of what a trial may still take of its GPU: a prefix that is smaller lies there during the trial


@dataclass(frozen=True)
class PrefixContext:
    """What a prefix is computed of: everything its key has, save for depth and split."""

    key: Hashable  # model files, data fingerprint, preprocessing, precision
    backbone: Backbone
    forward: Forward
    collate: Collate
    run_halving: Callable[
        [Callable[[int], None], int], None
    ]  # run_halving(compute, rows): compute(size), smaller if it must
    tick: Callable[[], None]
    log: Callable[[str], None]
    exact: Forward  # in float32, to try things with


@dataclass(frozen=True)
class CutPlan:
    """A cut, and whether the values of the model's inputs play no part above it."""

    cut: Cut
    ignores_inputs: bool


@dataclass(frozen=True)
class Shortcut:
    """What the blocks that are computed leave out: tokens that nobody looks at, and padding."""

    narrow: Narrow | None = None
    packed: Sequence[nn.Module] = ()  # blocks

    @contextmanager
    def taken(self, inputs: Inputs, lengths: Sequence[int]) -> Iterator[None]:
        """Within it, a forward of these inputs, whose examples have these lengths, leaves it out."""
        with (
            without_padding(self.packed, inputs, lengths),
            self.narrow.active() if self.narrow is not None else nullcontext(),
        ):
            yield


class Prefix:
    """One trial's frozen prefix, over its splits."""

    def __init__(self, parts: Mapping[int, tuple[CutPlan, Rows]]) -> None:
        self._parts = parts  # by the Encoded's id
        self._light: dict[tuple[int, int], Inputs] = {}  # by the Encoded's id and a batch's size

    def covers(self, encoded: Encoded) -> bool:
        return id(encoded) in self._parts

    def logits(self, forward: Forward, collate: Collate, encoded: Encoded, rows: Sequence[int]) -> torch.Tensor:
        """The model's logits for some examples, from what is kept of them."""
        found, kept = self._parts[id(encoded)]
        if found.ignores_inputs:
            key = (id(encoded), len(rows))
            inputs = self._light[key] = self._light.get(key) or repeated_inputs(collate, encoded, len(rows))
        else:
            inputs = collate(encoded, rows)
        with found.cut.injected(kept.values(rows, inputs), inputs):
            return forward(inputs)

    def close(self) -> None:
        for _, rows in self._parts.values():
            rows.close()


def repeated_inputs(collate: Collate, encoded: Encoded, count: int) -> Inputs:
    """A batch of the first example, over and over: enough where the inputs' values do not matter."""
    one = collate(encoded, [0])
    return {name: value.expand(count, *value.shape[1:]) for name, value in one.items()}


@cache
def _versions() -> list[str]:
    """Of what decides what a frozen part computes."""
    return [version(name) for name in ("luthier", "torch", "transformers", "tokenizers", "numpy")]


class Prefixes:
    """Every prefix of one model that a worker's child knows, kept warm with it."""

    def __init__(self) -> None:
        self._files: PrefixFiles | None = None  # opened when first wanted
        self._found: dict[tuple[int, int], CutPlan | str] = {}  # by depth and shape of inputs; or why there is none
        self.rejects_bfloat16: bool | None = None  # whether the model's code cannot compute in it, once tried
        self._short: tuple[Narrow | None, bool] | None = None  # how to narrow, and whether it packs, once tried

    @property
    def files(self) -> PrefixFiles:
        if self._files is None:
            self._files = machine_files()
        return self._files

    def open(self, source: PrefixContext, depth: int, splits: Mapping[str, Encoded]) -> Prefix | None:
        """The prefix of a model that is frozen to `depth` and in evaluation mode; None, with the reason in the log,
        where there can be none. Splits whose inputs are drawn anew each time are left out."""
        if depth == 0:
            return None
        kept = {name: encoded for name, encoded in splits.items() if not encoded.augmented}
        if len(kept) < len(splits):
            source.log("trains from the pixels in every epoch: augmentation draws them anew")
        parts: dict[int, tuple[CutPlan, Rows]] = {}
        try:
            if not self.files.tiers:
                raise NoRoom("LUTHIER_CACHE_MEMORY and LUTHIER_CACHE_DISK allow none")
            for name, encoded in kept.items():
                parts[id(encoded)] = self._part(source, depth, name, encoded)
            return Prefix(parts) if parts else None
        except BaseException as error:
            for _, rows in parts.values():
                rows.close()
            reason = why_not(error)
            if reason is None:
                raise
            source.log(f"trains without the frozen-prefix cache, because {reason}")
        return None

    def shortcut(self, source: PrefixContext, depth: int, encoded: Encoded) -> Shortcut:
        """What the blocks above `depth` of the model, which is in evaluation mode, can leave out."""
        blocks = source.backbone.blocks[depth:]
        if not blocks:
            return Shortcut()
        if self._short is None:
            try:
                probe = _probes(source, encoded)[2]
                found = find_narrow(source.backbone, source.exact, probe), packs(source.backbone, source.exact, probe)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                return Shortcut()
            if not has_padding(probe):  # that tells nothing about other examples
                return Shortcut(found[0])
            self._short = found
        narrow, can_pack = self._short
        return Shortcut(narrow, (blocks if narrow is None else blocks[:-1]) if can_pack else [])

    def _part(self, source: PrefixContext, depth: int, split: str, encoded: Encoded) -> tuple[CutPlan, Rows]:
        found = self._find(source, depth, encoded)
        key = self._key(source, depth, split, encoded, found.cut)
        file = self.files.find(key) or self._build(source, depth, split, encoded, found.cut, key)
        rows = Rows(file, found.cut.fields, encoded.lengths)
        if rows.nbytes <= GPU_SHARE * free_gpu_memory():
            rows.to(torch.device("cuda"))
        return found, rows

    def _find(self, source: PrefixContext, depth: int, encoded: Encoded) -> CutPlan:
        """Where a model frozen to `depth` is cut. Raises CannotCut."""
        shape = (depth, encoded.longest if len(set(encoded.lengths)) == 1 else 0)
        if shape not in self._found:
            try:
                cut = find_cut(source.backbone, depth, source.exact, _probes(source, encoded))
                self._found[shape] = CutPlan(cut, _light(source, cut, encoded))
            except CannotCut as reason:
                self._found[shape] = str(reason)
        found = self._found[shape]
        if isinstance(found, str):
            raise CannotCut(found)
        return found

    @staticmethod
    def _key(source: PrefixContext, depth: int, split: str, encoded: Encoded, cut: Cut) -> str:
        fields = [(f.kind, f.shape.dims, str(f.shape.dtype)) for f in cut.fields]
        whole = [source.key, depth, split, encoded.longest, sum(encoded.lengths), fields, _versions()]
        return hashlib.sha256(json.dumps(whole, default=str).encode()).hexdigest()

    def _build(self, source: PrefixContext, depth: int, split: str, encoded: Encoded, cut: Cut, key: str) -> IO[bytes]:
        started = time.perf_counter()
        below = self._shallower(source, depth, split, encoded)

        def write(path: Path) -> None:
            flat = mapped(path, cut.fields, encoded.lengths, write=True)
            starts = [0, *accumulate(encoded.lengths)]
            for batch in evaluation_batches(encoded.lengths, 64):
                source.tick()

                def fill(size: int, batch: list[int] = batch) -> None:
                    for i in range(0, len(batch), size):
                        piece = batch[i : i + size]
                        lengths = [encoded.lengths[j] for j in piece]
                        values = start(piece, source.collate(encoded, piece))
                        for field, rows, value in zip(cut.fields, flat, values, strict=True):
                            found = field.stored(value, lengths)
                            if found.shape[1:] != field.row:
                                raise CannotCut("its inputs differ in length, and what it makes of them does otherwise")
                            rows[row_numbers(field, starts, piece)] = found.to("cpu", rows.dtype)

                source.run_halving(fill, len(batch))
            origin = "the model's inputs" if below is None else f"depth {below[0]}"
            took = time.perf_counter() - started
            source.log(f"frozen prefix of depth {depth}: {len(encoded)} {split} examples from {origin} in {took:.1f} s")

        def start(batch: Sequence[int], inputs: Inputs) -> list[torch.Tensor]:
            if below is None:
                return capture(cut, source.forward, inputs)
            lower, rows = below[1:]
            with lower.injected(rows.values(batch, inputs), inputs):
                return capture(cut, source.forward, inputs)

        try:
            return self.files.build(key, layout(cut.fields, encoded.lengths)[1], write, source.tick)
        finally:
            if below is not None:
                below[2].close()

    def _shallower(
        self, source: PrefixContext, depth: int, split: str, encoded: Encoded
    ) -> tuple[int, Cut, Rows] | None:
        """The deepest prefix below that is there already."""
        for lower in range(depth - 1, 0, -1):
            try:
                cut = self._find(source, lower, encoded).cut
            except CannotCut:
                continue
            file = self.files.find(self._key(source, lower, split, encoded, cut))
            if file is not None:
                return lower, cut, Rows(file, cut.fields, encoded.lengths)
        return None


def why_not(error: BaseException) -> str | None:
    """Why there is no prefix, where the error means that a trial can do without; None where it means something else."""
    if isinstance(error, CannotCut | NoRoom):
        return str(error)
    if isinstance(error, OSError):
        return f"its file cannot be kept: {error.strerror or error}"
    return "memory does not suffice to compute it" if out_of_memory(error) else None


def _probes(source: PrefixContext, encoded: Encoded) -> list[Probe]:
    """Batches of three, five and eight examples; the first is padded to fewer tokens, where lengths differ."""
    order = sorted(range(len(encoded)), key=lambda i: encoded.lengths[i])
    last = len(order) - 1
    few = [order[0], order[last // 4], order[last // 2]]
    many = [order[last // 3], order[2 * last // 3], order[3 * last // 4], order[max(0, last - 1)], order[last]]
    probes = [_probe(source, encoded, rows) for rows in (few, many, few + many)]
    if size(probes[0].inputs) | {BATCH: 0} == size(probes[1].inputs) | {BATCH: 0}:  # as if there were no padding
        probes[0] = _probe(source, encoded, [order[0]] * 3)
        probes[2] = _probe(source, encoded, [order[0]] * 3 + many)
    return probes


def _probe(source: PrefixContext, encoded: Encoded, rows: Sequence[int]) -> Probe:
    lengths = [encoded.lengths[i] for i in rows]
    return Probe(source.collate(encoded, rows), lengths, lambda logits: encoded.select(logits, rows))


def _light(source: PrefixContext, cut: Cut, encoded: Encoded) -> bool:
    """Whether the inputs' values play no part once the cut's are there: then images need not be prepared again."""
    if len(set(encoded.lengths)) > 1 and any(field.kind == "tokens" for field in cut.fields):
        return False
    if MASK in encoded.padding and "input_ids" not in encoded.columns:  # sounds of one length, differently masked
        return False
    probe = _probes(source, encoded)[2]
    with torch.no_grad():
        expected = probe.logits(source.exact)
        values = capture(cut, source.exact, probe.inputs)
        try:
            ignores_inputs = repeated_inputs(source.collate, encoded, len(probe.lengths))
            tokens = size(ignores_inputs)[TOKENS]
            kept = [f.stored(value, probe.lengths) for f, value in zip(cut.fields, values, strict=True)]
            values = [f.restored(rows, probe.lengths, tokens) for f, rows in zip(cut.fields, kept, strict=True)]
            with cut.injected(values, ignores_inputs):
                found = probe.select(source.exact(ignores_inputs))
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            return False
    return probe.agrees(found, expected)
