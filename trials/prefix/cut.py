"""Where a model's frozen part ends, and how a forward starts from there.

Above a freeze depth k > 0 everything that trains hangs on the input of the first part with a trainable parameter: the
cut (or on the backbone's output, where all of it is frozen). A `Cut` runs the model's own forward. To capture, it stops
there and keeps what arrives. To inject, the frozen parts below answer zeros of the right shape at once, and what was
captured takes the place of what arrives. Nothing is assumed about an architecture: whatever is planned is tried on a
few examples against the whole forward, and a model that gives other logits is not cut.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from luthier.trials.memory import out_of_memory
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.shapes import (
    BATCH,
    TOKENS,
    Inputs,
    PassThrough,
    Shape,
    StructureMismatch,
    instantiate,
    size,
    stubbed,
    template,
)

Forward = Callable[[Inputs], torch.Tensor]


@dataclass(frozen=True)
class Probe:
    """A few examples to try a forward on: a batch, the examples' lengths, and what of its logits counts."""

    inputs: Inputs
    lengths: Sequence[int]
    select: Callable[[torch.Tensor], torch.Tensor]

    def logits(self, forward: Forward) -> torch.Tensor:
        return self.select(forward(self.inputs))

    @staticmethod
    def agrees(found: torch.Tensor, expected: torch.Tensor) -> bool:
        """Whether two sets of logits are the same, but for rounding: to CLOSE times the largest."""
        if found.shape != expected.shape:
            return False
        return bool((found - expected).abs().max() <= CLOSE * expected.abs().max())


CLOSE = 3e-4  # float32 gives less in batches that are composed otherwise; a wrong computation gives far more


class CannotCut(Exception):
    """The frozen part's output cannot be kept. The text says why, after "because "."""


@dataclass(frozen=True)
class Field:
    """A tensor that crosses the cut, and what of it is kept for an example.

    `kind`: "whole" (all of it), "tokens" (one row per token), "first" or "last" (the only token the head looks at).
    """

    leaf: int  # its place in the flattened structure
    kind: str
    shape: Shape

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of one stored row."""
        skip = 1 if self.kind == "whole" else 2
        return tuple(int(d) for d in self.shape.dims[skip:])

    def stored(self, value: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """(rows, *row) of a batch's (batch, ...)."""
        if self.kind == "whole":
            return value
        if self.kind == "first":
            return value[:, 0]
        if self.kind == "last":
            return value[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
        return torch.cat([value[b, :length] for b, length in enumerate(lengths)])

    def restored(self, rows: torch.Tensor, lengths: Sequence[int], tokens: int) -> torch.Tensor:
        """(batch, ...) as the model expects it, from the stored rows of its examples."""
        if self.kind == "whole":
            return rows
        if self.kind in ("first", "last"):  # at every token, so that the head finds it wherever it looks
            return rows[:, None].expand(-1, tokens, *rows.shape[1:])
        padded = rows.new_zeros(len(lengths), tokens, *rows.shape[1:])
        padded[torch.arange(tokens) < torch.tensor(lengths)[:, None]] = rows
        return padded


@dataclass
class ForwardTrace:
    """What one whole forward showed."""

    inputs: Inputs
    logits: torch.Tensor
    order: list[nn.Module]  # parts as they were called, with repeats
    outputs: dict[int, Any]  # part's id -> what it returned first
    arrived: dict[int, tuple[tuple[Any, ...], dict[str, Any]]]  # part's id -> arguments of its first call
    base_output: Any


class Cut:
    """One model frozen to one depth. Valid as long as the model's modules are those it was made for."""

    def __init__(self, backbone: Backbone, depth: int, seen: Sequence[ForwardTrace]) -> None:
        self._backbone, self._base = backbone, backbone.base
        frozen = backbone.frozen(depth)
        trains = {id(p): name for name, p in backbone.model.named_parameters() if name not in frozen}
        order = seen[0].order
        trained = [part for part in order if any(id(p) in trains for p in part.parameters())]
        self.part = trained[0] if trained else None
        position = order.index(self.part) if self.part is not None else len(order)
        above = {id(part) for part in order[position:]}
        below = {id(part): part for part in order[:position] if id(part) not in above and _has_parameters(part)}
        self._check_reach(order[position:], trains)
        shapes = {i: template([s.outputs[i] for s in seen], [s.inputs for s in seen]) for i in below}
        self._below = [(part, shapes[i]) for i, part in below.items()]
        self._stubs: list[tuple[nn.Module, Any]] = []
        found = [s.base_output if self.part is None else s.arrived[id(self.part)] for s in seen]
        self._template = template(found, [s.inputs for s in seen])
        self.fields: list[Field] = []

    def _check_reach(self, above: Sequence[nn.Module], trains: Mapping[int, str]) -> None:
        reached = {id(p) for part in above for p in part.parameters()}
        for p in self._base.parameters():
            if id(p) in trains and id(p) not in reached:
                raise CannotCut(f"{trains[id(p)]} is trained and lies below the frozen blocks")

    def stub_plans(self) -> Iterator[None]:
        """Set up one plan after another for what the parts below do, the cheapest first."""
        blocks = {id(b) for b in self._backbone.blocks}
        bottom = id(self._backbone.blocks[0])
        stem = [entry for entry in self._below if id(entry[0]) not in blocks]
        rest = [entry for entry in self._below if id(entry[0]) in blocks and id(entry[0]) != bottom]
        first = [entry for entry in self._below if id(entry[0]) == bottom]
        for plan in (stem + first + rest, stem + rest, first + rest, rest):
            self._stubs = plan
            yield

    def leaves(self, structure: Any) -> list[torch.Tensor]:
        """The tensors of the fields in what crosses the cut."""
        flat, _ = tree_flatten(structure)
        return [flat[field.leaf] for field in self.fields]

    @contextmanager
    def capturing(self) -> Iterator[list[torch.Tensor]]:
        """Within it, a forward stops at the cut; the list holds the fields' tensors, and `CutReached` was raised."""
        found: list[torch.Tensor] = []

        def stop(structure: Any) -> None:
            found[:] = [tensor.detach() for tensor in self.leaves(structure)]
            raise CutReached

        if self.part is None:
            handle = self._base.register_forward_hook(lambda module, args, output: stop(output))
        else:
            handle = self.part.register_forward_pre_hook(
                lambda module, args, kwargs: stop((args, kwargs)), with_kwargs=True
            )
        try:
            yield found
        except CutReached:
            pass
        finally:
            handle.remove()

    @contextmanager
    def injected(self, values: Sequence[torch.Tensor], inputs: Inputs) -> Iterator[None]:
        """Within it, a forward of `inputs` takes `values`, one for each field, for what crosses the cut."""
        with ExitStack() as stack:
            device = values[0].device
            replace = dict(zip([f.leaf for f in self.fields], values, strict=True))
            if self.part is None:
                stack.enter_context(stubbed(self._base, instantiate(self._template, inputs, device, replace)))
            else:
                for part, template in self._stubs:
                    stack.enter_context(stubbed(part, instantiate(template, inputs, device, {})))

                def arrive(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
                    flat, spec = tree_flatten((args, kwargs))
                    for leaf, value in replace.items():
                        flat[leaf] = value
                    arrived: tuple[Any, Any] = tree_unflatten(flat, spec)
                    return arrived

                stack.callback(self.part.register_forward_pre_hook(arrive, with_kwargs=True).remove)
            yield


class CutReached(Exception):
    """A capturing forward has come to the cut."""


def find_cut(backbone: Backbone, depth: int, forward: Forward, probes: Sequence[Probe]) -> Cut:
    """Where a model in evaluation mode is cut whose bottom `depth` blocks are the pretrained ones. Raises CannotCut.

    `forward` computes in float32. `probes` are three: the first two of different sizes, the third made of the examples
    of both.
    """
    with torch.no_grad():
        seen = [_watch(backbone, forward, probe) for probe in probes]
    try:
        cut = Cut(backbone, depth, seen[:2])
    except StructureMismatch:
        raise CannotCut("what its frozen part gives has another form for every batch") from None
    cut.fields = _fields(cut, backbone, forward, seen[2], probes[2])
    with torch.no_grad():
        kept = [_capture(cut, forward, probe) for probe in probes[:2]]
        inputs, lengths = probes[2].inputs, probes[2].lengths
        values = [
            field.restored(torch.cat([kept[0][i], kept[1][i]]), lengths, size(inputs)[TOKENS])
            for i, field in enumerate(cut.fields)
        ]
        for _ in cut.stub_plans():
            try:
                with cut.injected(values, inputs):
                    found = probes[2].logits(forward)
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
                if out_of_memory(error):
                    raise
                continue  # a zero where the model's own code looks for more
            if probes[2].agrees(found, seen[2].logits):
                return cut
    raise CannotCut("more than one path leads out of its frozen part")


def capture(cut: Cut, forward: Forward, inputs: Inputs) -> list[torch.Tensor]:
    """The fields' tensors of a batch, (batch, ...)."""
    with torch.no_grad(), cut.capturing() as found:
        forward(inputs)
    return found


def _capture(cut: Cut, forward: Forward, probe: Probe) -> list[torch.Tensor]:
    found = capture(cut, forward, probe.inputs)
    return [field.stored(value, probe.lengths) for field, value in zip(cut.fields, found, strict=True)]


def _watch(backbone: Backbone, forward: Forward, probe: Probe) -> ForwardTrace:
    seen = ForwardTrace(probe.inputs, torch.empty(0), [], {}, {}, None)

    def before(part: nn.Module, args: Any, kwargs: Any) -> None:
        seen.order.append(part)
        seen.arrived.setdefault(id(part), (args, dict(kwargs)))

    def after(part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        arguments = {id(leaf): i for i, leaf in reversed([*enumerate(tree_flatten((args, kwargs))[0])])}
        flat, spec = tree_flatten(output)
        passed = [
            PassThrough(arguments[id(x)]) if isinstance(x, torch.Tensor) and id(x) in arguments else x for x in flat
        ]
        seen.outputs.setdefault(id(part), tree_unflatten(passed, spec))

    def end(base: nn.Module, args: Any, output: Any) -> None:
        seen.base_output = output

    with ExitStack() as stack:
        for part in backbone.parts():
            stack.callback(part.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(part.register_forward_hook(after, with_kwargs=True).remove)
        stack.callback(backbone.base.register_forward_hook(end).remove)
        seen.logits = probe.logits(forward)
    return seen


def _fields(cut: Cut, backbone: Backbone, forward: Forward, seen: ForwardTrace, probe: Probe) -> list[Field]:
    """What crosses the cut: of a part's arguments the first tensor, of the base's output what the head looks at."""
    structure = seen.base_output if cut.part is None else seen.arrived[id(cut.part)]
    flat, spec = tree_flatten(structure)
    floats = [i for i, leaf in enumerate(flat) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
    if not floats:
        raise CannotCut("no tensor leads out of its frozen part")
    if cut.part is not None:
        return [_field(cut, floats[0], "tokens")]
    leaves = {i: flat[i].detach().requires_grad_() for i in floats}
    flat = [leaves.get(i, leaf) for i, leaf in enumerate(flat)]
    with stubbed(backbone.base, tree_unflatten(flat, spec)), torch.enable_grad():
        logits = probe.logits(forward)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(logits.shape, generator=generator).to(logits)
    grads = torch.autograd.grad((logits * weight).sum(), list(leaves.values()), allow_unused=True)
    used = [(i, g) for i, g in zip(leaves, grads, strict=True) if g is not None and bool(g.any())]
    if not used:
        raise CannotCut("its head does not look at its frozen part's output")
    return [_field(cut, i, token_kind(g, probe.lengths)) for i, g in used]


def token_kind(gradient: torch.Tensor, lengths: Sequence[int]) -> str:
    """Which tokens a gradient (batch, tokens, ...) says are looked at: "first", "last", or any of the "tokens"."""
    if gradient.ndim < 3:
        return "tokens"
    looked = gradient.flatten(2).abs().amax(2) > 0  # (batch, tokens)
    rows = torch.arange(len(lengths), device=looked.device)
    if bool((looked.sum(1) == 1).all()):
        if bool(looked[:, 0].all()):
            return "first"
        if bool(looked[rows, torch.tensor(lengths, device=looked.device) - 1].all()):
            return "last"
    return "tokens"


def _field(cut: Cut, leaf: int, kind: str) -> Field:
    shape = tree_flatten(cut._template)[0][leaf]
    if not isinstance(shape, Shape) or shape.dims[0] != BATCH or TOKENS in shape.dims[2:]:
        raise CannotCut("what its frozen part gives does not belong to one example each")
    if len(shape.dims) < 2 or shape.dims[1] != TOKENS:
        kind = "whole"
    if BATCH in shape.dims[1:]:
        raise CannotCut("what its frozen part gives mixes examples")
    return Field(leaf, kind, shape)


def _has_parameters(part: nn.Module) -> bool:
    return next(part.parameters(), None) is not None
