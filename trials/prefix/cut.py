"""The cut between the frozen and the trained part of a model: forwards stop or start there.

Above a freeze depth k > 0, everything that trains depends on what the frozen parts return that are called before the
first part with a trainable parameter. A `Cut` runs the model's own forward. To capture, the forward stops when the
tensors that are kept have been computed. To inject, the frozen parts return these tensors, and zeros of the right shape
in place of those that are not kept, without computing. The code between the parts runs as ever, so tensors reach
whatever uses them: an encoder's output every block of the decoder, each stage of a backbone the head.

`cut_search` decides whether a model can be cut, and which tensors are kept; nothing else may make a Cut.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.axes import Inputs
from luthier.trials.prefix.field import Field
from luthier.trials.prefix.probe import Forward
from luthier.trials.prefix.shapes import Shape, StructureMismatch, UnknownShape, instantiate, stubbed, template
from luthier.trials.prefix.trace import Call, ForwardTrace

Site = tuple[str, int, int]  # a tensor that a part returns: name of the part, number of the call, index of the leaf


class CannotCut(Exception):
    """The frozen part's output cannot be kept. The text is the reason, in words that follow "because "."""


class CutReached(Exception):
    """A capturing forward has computed all that is kept, and stops."""


@dataclass(frozen=True)
class Stub:
    """A frozen part that is not computed.

    Attributes:
        name: The part's name in the model.
        part: The part.
        answers: What each of its calls returns, with Shapes in place of tensors.
    """

    name: str
    part: nn.Module
    answers: Sequence[Any]

    def shapes(self) -> Iterator[tuple[Site, Shape | UnknownShape]]:
        """Yield the place and the shape of each tensor that the part returns of its own."""
        for number, answer in enumerate(self.answers):
            for i, leaf in enumerate(tree_flatten(answer)[0]):
                if isinstance(leaf, Shape | UnknownShape):
                    yield (self.name, number, i), leaf


class Cut:
    """The cut of a model at one depth. It is valid as long as the model has the modules it was made for.

    Args:
        stubs: The frozen parts that are not computed.
        fields: The tensors that they return and that are kept.
        computed: The names of frozen parts that are computed although they lie below, as others need what they return.
        refusals: Sentences on what these parts return, and why it cannot be kept.
    """

    def __init__(
        self,
        stubs: Sequence[Stub],
        fields: Sequence[Field] = (),
        computed: Sequence[str] = (),
        refusals: Sequence[str] = (),
    ) -> None:
        self.stubs = stubs
        self.fields = fields
        self.computed = computed
        self.refusals = refusals

    @contextmanager
    def capturing(self) -> Iterator[dict[int, torch.Tensor]]:
        """Within this context a forward stops at the cut; the yielded dictionary then holds each field's tensor."""
        captured: dict[int, torch.Tensor] = {}
        calls: dict[str, int] = {}

        def watch(stub: Stub, output: Any) -> None:
            number = calls[stub.name] = calls.get(stub.name, -1) + 1
            own = [i for i, f in enumerate(self.fields) if (f.part, f.call) == (stub.name, number)]
            if own:
                leaves, _ = tree_flatten(output)
                captured.update({i: leaves[self.fields[i].leaf].detach().clone() for i in own})
            if len(captured) == len(self.fields):
                raise CutReached

        sources = {field.part for field in self.fields}
        with ExitStack() as stack:
            for stub in self.stubs:
                if stub.name in sources:
                    hook = stub.part.register_forward_hook(lambda part, args, output, stub=stub: watch(stub, output))
                    stack.callback(hook.remove)
            with suppress(CutReached):
                yield captured

    @contextmanager
    def injecting(self, values: Sequence[torch.Tensor], inputs: Inputs) -> Iterator[None]:
        """Within this context a forward of `inputs` starts at the cut.

        Args:
            values: A tensor for each field, of its shape, in the fields' order.
            inputs: The model's inputs. Stubs take their sizes.
        """
        sites = [(field.part, field.call, field.leaf) for field in self.fields]
        device = next(iter(inputs.values())).device
        with self.answering(dict(zip(sites, values, strict=True)), inputs, device):
            yield

    @contextmanager
    def answering(self, values: Mapping[Site, torch.Tensor], inputs: Inputs, device: torch.device) -> Iterator[None]:
        """Within this context the stubbed parts return `values`, and zeros for every other tensor."""
        given: dict[tuple[str, int], dict[int, torch.Tensor]] = {}
        for (name, number, leaf), value in values.items():
            given.setdefault((name, number), {})[leaf] = value
        with ExitStack() as stack:
            for stub in self.stubs:
                answers = [
                    instantiate(answer, inputs, device, given.get((stub.name, number), {}))
                    for number, answer in enumerate(stub.answers)
                ]
                stack.enter_context(stubbed(stub.part, answers))
            yield


def capture(cut: Cut, forward: Forward, inputs: Inputs) -> list[torch.Tensor]:
    """Run a forward up to the cut, without gradients, and return the fields' tensors."""
    with torch.no_grad(), cut.capturing() as captured:
        forward(inputs)
    return [captured[i] for i in range(len(cut.fields))]


def frozen_stubs(
    backbone: Backbone, depth: int, traces: Sequence[ForwardTrace], axes: Sequence[str], refusals: list[str]
) -> list[Stub]:
    """Return the frozen parts that are called before anything that trains, in the order of their first calls.

    Where the whole backbone is frozen, and the model calls it, it is the only part. Parts that return another structure
    for every batch are left out.

    Args:
        backbone: The model's blocks.
        depth: Number of frozen blocks, at least 1.
        traces: Whole forwards of batches of different sizes.
        axes: The axes of the inputs beside BATCH.
        refusals: Gets a sentence for each part that is left out.

    Raises:
        CannotCut: A parameter below the cut is trained.
    """
    frozen = backbone.frozen(depth)
    trained = {id(p): name for name, p in backbone.model.named_parameters() if name not in frozen}
    order = [call.part for call in traces[0].calls]
    first = next((i for i, part in enumerate(order) if any(id(p) in trained for p in part.parameters())), len(order))
    _check_reach(backbone, order[first:], trained)
    calls = [trace.calls for trace in traces]
    above = {id(part) for part in order[first:]}
    if first == len(order) and all(trace.base for trace in traces) and backbone.base is not backbone.model:
        calls, above = [trace.base for trace in traces], set()
    below = {id(call.part): call.part for call in calls[0] if id(call.part) not in above and _has_parameters(call.part)}
    names = {id(module): name for name, module in backbone.model.named_modules()}
    inputs = [trace.inputs for trace in traces]
    stubs = []
    for key, part in below.items():
        own = [[call for call in batch if call.part is part] for batch in calls]
        try:
            answers = [
                template([call.output for call in alike], inputs, axes, [call.arguments for call in alike])
                for alike in zip(*own, strict=True)
            ]
            stubs.append(Stub(names[key], part, answers))
        except (StructureMismatch, ValueError):
            refusals.append(f"the output of {names[key]} cannot be kept: it has another form for every batch")
    return stubs


def values_of(stubs: Sequence[Stub], trace: ForwardTrace) -> dict[Site, torch.Tensor]:
    """Return the tensors that frozen parts returned in a traced forward whose values were kept."""
    names = {id(stub.part): stub.name for stub in stubs}
    calls: list[Call] = [call for call in (*trace.calls, *trace.base) if id(call.part) in names]
    return {(names[id(call.part)], call.number, leaf): value for call in calls for leaf, value in call.values.items()}


def _check_reach(backbone: Backbone, above: Sequence[nn.Module], trained: Mapping[int, str]) -> None:
    reached = {id(p) for part in above for p in part.parameters()}
    for p in backbone.base.parameters():
        if id(p) in trained and id(p) not in reached:
            raise CannotCut(f"{trained[id(p)]} is trained and lies below the frozen blocks")


def _has_parameters(part: nn.Module) -> bool:
    return next(part.parameters(), None) is not None
