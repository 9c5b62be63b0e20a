"""The frozen-prefix cache: a frozen part's output is computed once, for every epoch and every trial.

The bottom k blocks in evaluation mode are a fixed function of the example. The tensors that cross their upper edge
(`Cut`) are stored by model weights, data fingerprint, preprocessing and k: a row per token or per example, without
padding, in files that the workers of a machine share (`TieredFiles`). During a trial they lie on the GPU if there is
room. A deeper prefix is computed from the deepest stored prefix below it.

`ModelCache` holds one cache with each model. It must never change a trial's result: a model that cannot be cut exactly
is computed whole.
"""

import hashlib
import json
from collections.abc import Hashable, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

import torch

from luthier.studies.results import Batching
from luthier.trials.data.encoded import Encoded
from luthier.trials.memory import free_gpu_memory, out_of_memory
from luthier.trials.prefix.build import PrefixBuild, ShallowerPrefix
from luthier.trials.prefix.context import PrefixContext
from luthier.trials.prefix.cut import CannotCut, Cut
from luthier.trials.prefix.cut_search import find_cut
from luthier.trials.prefix.rows import ActivationRows, file_layout, split_lengths
from luthier.trials.prefix.shared_files import machine_files
from luthier.trials.prefix.shortcuts import ModelShortcuts, Shortcut
from luthier.trials.prefix.tiered_files import NoRoom, TieredFiles
from luthier.trials.prefix.trial_prefix import CutPlan, TrialPrefix, ignores_inputs
from luthier.trials.prefix.unpadding import has_padding

GPU_SHARE = 0.25  # of the GPU memory that a trial may still take: smaller prefixes lie there during the trial


class PrefixCache:
    """The prefixes and shortcuts of one model. A worker's child keeps it with the model.

    Attributes:
        rejects_bfloat16: True if the model's code cannot compute in bfloat16; None: not tried yet. The engine sets it.
        copies_weights: Whether copies of the weights in bfloat16 change no answer; None: not tried yet. As above.
    """

    def __init__(self) -> None:
        self.rejects_bfloat16: bool | None = None
        self.copies_weights: bool | None = None
        self._files: TieredFiles | None = None  # opened at the first use
        self._plans: dict[tuple[int, Hashable], CutPlan | str] = {}  # by depth and form; or the reason for none
        self._shortcuts: ModelShortcuts | None = None

    @property
    def files(self) -> TieredFiles:
        """The files of this machine's workers."""
        if self._files is None:
            self._files = machine_files()
        return self._files

    def open(self, context: PrefixContext, depth: int, splits: Mapping[str, Encoded]) -> TrialPrefix | None:
        """Open the prefix of a trial; compute it first if it is not stored yet.

        Args:
            context: The trial's model, frozen to `depth` and in evaluation mode.
            depth: Number of frozen blocks.
            splits: The splits by name. Those whose inputs are augmented in every epoch are left out.

        Returns:
            The prefix, or None where the trial computes everything itself; the trial's log then says why.

        Raises:
            Ended: The trial is to end.
        """
        if depth == 0:
            return None
        fixed = {name: encoded for name, encoded in splits.items() if not encoded.augmented}
        if len(fixed) < len(splits):
            context.log("computes every block of the training inputs in every epoch: augmentation draws them anew")
        parts: dict[int, tuple[CutPlan, ActivationRows]] = {}
        try:
            if not self.files.tiers:
                raise NoRoom("LUTHIER_CACHE_MEMORY and LUTHIER_CACHE_DISK allow none")
            for name, encoded in fixed.items():
                parts[id(encoded)] = self._part(context, depth, name, encoded)
            for computed in {_computed(plan.cut) for plan, _ in parts.values()} - {""}:
                context.log(computed)
            return TrialPrefix(parts) if parts else None
        except BaseException as error:
            for _, rows in parts.values():
                rows.close()
            reason = _reason_for_none(error)
            if reason is None:
                raise
            context.log(f"trains without the frozen-prefix cache, because {reason}")
        return None

    def shortcut(self, context: PrefixContext, depth: int, encoded: Encoded) -> Shortcut:
        """Return the shortcuts that the blocks above `depth` of a model in evaluation mode allow.

        Args:
            context: The trial's model.
            depth: Number of blocks that are not computed.
            encoded: A split, some of whose examples the shortcuts are tried on.
        """
        blocks = context.backbone.blocks[depth:]
        if not blocks or encoded.further_lengths:  # both shortcuts know one length of a row
            return Shortcut()
        if self._shortcuts is None:
            try:
                probe = context.probes(encoded).whole
                shortcuts = ModelShortcuts.find(context, probe)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                return Shortcut()
            if (
                not has_padding(probe) and encoded.batching is Batching.RIGHT
            ):  # other examples may have padding: ask again
                return Shortcut(shortcuts.first_token)
            self._shortcuts = shortcuts
        return self._shortcuts.above(blocks)

    def _part(self, context: PrefixContext, depth: int, split: str, encoded: Encoded) -> tuple[CutPlan, ActivationRows]:
        """Return a split's plan and its stored rows. Raises CannotCut, NoRoom, OSError, Ended."""
        plan = self._plan(context, depth, encoded)
        key = _key(context, depth, split, encoded, plan.cut)
        file = self.files.find(key)
        if file is None:
            below = self._shallower(context, depth, split, encoded)
            build = PrefixBuild(context, depth, split, encoded, plan.cut, below)
            size = file_layout(plan.cut.fields, split_lengths(encoded))[1]
            try:
                file = self.files.build(key, size, build.write, context.tick)
            finally:
                if below is not None:
                    below.rows.close()
        rows = ActivationRows(file, plan.cut.fields, split_lengths(encoded))
        if rows.nbytes <= GPU_SHARE * free_gpu_memory():
            rows.to(torch.device("cuda"))
        return plan, rows

    def _plan(self, context: PrefixContext, depth: int, encoded: Encoded) -> CutPlan:
        """Return how a model frozen to `depth` is cut for a split. Raises CannotCut."""
        key = (depth, _form(encoded))
        if key not in self._plans:
            try:
                cut = find_cut(context.backbone, depth, context.exact, context.probes(encoded))
                self._plans[key] = CutPlan(cut, ignores_inputs(context, cut, encoded))
            except CannotCut as reason:
                self._plans[key] = str(reason)
        plan = self._plans[key]
        if isinstance(plan, str):
            raise CannotCut(plan)
        return plan

    def _shallower(self, context: PrefixContext, depth: int, split: str, encoded: Encoded) -> ShallowerPrefix | None:
        """Return the deepest stored prefix of the split below `depth`, with its file open.

        Depths without a file are not planned: to find a cut takes many forwards, and models may have dozens of depths.
        """
        stored = self.files.endings()
        for lower in range(depth - 1, 0, -1):
            if _ending(context, lower, split, encoded) not in stored:
                continue
            try:
                cut = self._plan(context, lower, encoded).cut
            except CannotCut:
                continue
            file = self.files.find(_key(context, lower, split, encoded, cut))
            if file is not None:
                return ShallowerPrefix(lower, cut, ActivationRows(file, cut.fields, split_lengths(encoded)))
        return None


def _computed(cut: Cut) -> str:
    """Return the log's line on frozen parts that are computed all the same; "" if there are none."""
    if not cut.computed:
        return ""
    return f"computes {', '.join(cut.computed)} in every step, although frozen: {cut.refusals[0]}"


def _form(encoded: Encoded) -> Hashable:
    """Return what the shapes of a split's batches can tell: lengths that all examples have, and axes that are alike."""
    lengths = split_lengths(encoded)
    alike = tuple(next(name for name in lengths if list(lengths[name]) == list(own)) for own in lengths.values())
    return tuple((own[0], encoded.longest) if len(set(own)) == 1 else 0 for own in lengths.values()), alike


def _key(context: PrefixContext, depth: int, split: str, encoded: Encoded, cut: Cut) -> str:
    """Return the name of the file of a split's prefix. It depends on everything that its content depends on."""
    ending = _ending(context, depth, split, encoded)
    return f"{_digest([ending, *(field.key for field in cut.fields)])}-{ending}"


def _ending(context: PrefixContext, depth: int, split: str, encoded: Encoded) -> str:
    """Return the end of that name, which is known before the model is cut."""
    lengths = [(axis, sum(own)) for axis, own in split_lengths(encoded).items()]
    return _digest([context.key, depth, split, encoded.longest, lengths, _versions()])


def _digest(parts: list[Any]) -> str:
    """Return a name of 64 letters for some values."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


@cache
def _versions() -> list[str]:
    """Return the versions of the libraries that a frozen part's output depends on."""
    return [version(name) for name in ("luthier", "torch", "transformers", "tokenizers", "numpy")]


def _reason_for_none(error: BaseException) -> str | None:
    """Return why a trial has no prefix, if the trial can be computed without a prefix after this error; else None."""
    if isinstance(error, CannotCut | NoRoom):
        return str(error)
    if isinstance(error, OSError):
        return f"its file cannot be kept: {error.strerror or error}"
    return "memory does not suffice to compute it" if out_of_memory(error) else None
