"""The cut between the frozen and the trained part of a model: forwards stop or start there.

Above a freeze depth k > 0 everything that trains depends on the input of the first part with a trainable parameter: the
cut, or on the backbone's output where the whole backbone is frozen. A `Cut` runs the model's own forward. To capture,
the forward stops at the cut, and the tensors that arrive are kept. To inject, the frozen parts below return zeros of
the right shape without computing, and the captured tensors replace those that arrive. `cut_search` decides whether a
model can be cut; nothing else may make a Cut.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.probe import FIRST, LAST, Forward
from luthier.trials.prefix.shapes import Inputs, Shape, instantiate, stubbed, template
from luthier.trials.prefix.trace import ForwardTrace

WHOLE = "whole"  # a field's kind, beside those of `probe`; kinds are part of the cache's keys

LENGTHS_DIFFER = "its inputs differ in length, and what it makes of them does otherwise"


class CannotCut(Exception):
    """The frozen part's output cannot be kept. The text is the reason, in words that follow "because "."""


class CutReached(Exception):
    """A capturing forward has reached the cut, and stops."""


@dataclass(frozen=True)
class Field:
    """A tensor that crosses the cut, and the form of its stored rows.

    Attributes:
        leaf: The tensor's index in the flattened structure that crosses the cut.
        kind: WHOLE: all of it, a row per example. PER_TOKEN: a row per token. FIRST, LAST: the row of the only token
            that the head uses, per example.
        shape: The tensor's shape.
    """

    leaf: int
    kind: str
    shape: Shape

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of one stored row."""
        skip = 1 if self.kind == WHOLE else 2
        return tuple(int(d) for d in self.shape.dims[skip:])

    def to_rows(self, value: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Return the rows to store, (rows, *row), of a batch's tensor, (batch, ...).

        Args:
            value: The tensor.
            lengths: Tokens of each example, without padding.
        """
        if self.kind == WHOLE:
            return value
        if self.kind == FIRST:
            return value[:, 0]
        if self.kind == LAST:
            return value[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
        return torch.cat([value[b, :length] for b, length in enumerate(lengths)])

    def from_rows(self, rows: torch.Tensor, lengths: Sequence[int], tokens: int) -> torch.Tensor:
        """Return the tensor that the model expects, (batch, ...), from the stored rows of a batch's examples.

        Args:
            rows: The rows, (rows, *row).
            lengths: Tokens of each example, without padding.
            tokens: Tokens that the batch is padded to.
        """
        if self.kind == WHOLE:
            return rows
        if self.kind in (FIRST, LAST):  # at every token, so that the head finds it at the one that it uses
            return rows[:, None].expand(-1, tokens, *rows.shape[1:])
        padded = rows.new_zeros(len(lengths), tokens, *rows.shape[1:])
        padded[torch.arange(tokens) < torch.tensor(lengths)[:, None]] = rows
        return padded


class Cut:
    """The cut of a model at one depth. It is valid as long as the model has the modules it was made for.

    Args:
        backbone: The model's blocks.
        depth: Number of frozen blocks, at least 1.
        traces: Whole forwards of two batches of different sizes.

    Attributes:
        part: The first part with a trainable parameter; None where the whole backbone is frozen.
        template: The structure that crosses the cut, with Shapes in place of tensors.
        fields: The tensors in it that are kept; set by the search.

    Raises:
        CannotCut: A parameter below the cut is trained.
        StructureMismatch: A part returns structures of different forms.
    """

    def __init__(self, backbone: Backbone, depth: int, traces: Sequence[ForwardTrace]) -> None:
        self._backbone = backbone
        frozen = backbone.frozen(depth)
        trained = {id(p): name for name, p in backbone.model.named_parameters() if name not in frozen}
        order = traces[0].order
        self.part = next((part for part in order if any(id(p) in trained for p in part.parameters())), None)
        position = order.index(self.part) if self.part is not None else len(order)
        above = {id(part) for part in order[position:]}
        below = {id(part): part for part in order[:position] if id(part) not in above and _has_parameters(part)}
        self._check_reach(order[position:], trained)
        inputs = [trace.inputs for trace in traces]
        self._below = [(part, template([t.outputs[i] for t in traces], inputs)) for i, part in below.items()]
        self._stubs: list[tuple[nn.Module, Any]] = []
        self.template = template([self.crossing(trace) for trace in traces], inputs)
        self.fields: list[Field] = []

    def crossing(self, trace: ForwardTrace) -> Any:
        """Return what crosses the cut in a traced forward: the arguments of `part`, or the backbone's output."""
        return trace.base_output if self.part is None else trace.arguments[id(self.part)]

    def _check_reach(self, above: Sequence[nn.Module], trained: Mapping[int, str]) -> None:
        reached = {id(p) for part in above for p in part.parameters()}
        for p in self._backbone.base.parameters():
            if id(p) in trained and id(p) not in reached:
                raise CannotCut(f"{trained[id(p)]} is trained and lies below the frozen blocks")

    def stub_plans(self) -> Iterator[None]:
        """Yield after installing each candidate set of stubs for the parts below the cut.

        The set with the fewest real computations comes first. The last one that was installed stays.
        """
        blocks = {id(b) for b in self._backbone.blocks}
        bottom = id(self._backbone.blocks[0])
        stem = [entry for entry in self._below if id(entry[0]) not in blocks]
        rest = [entry for entry in self._below if id(entry[0]) in blocks and id(entry[0]) != bottom]
        first = [entry for entry in self._below if id(entry[0]) == bottom]
        for plan in (stem + first + rest, stem + rest, first + rest, rest):
            self._stubs = plan
            yield

    @contextmanager
    def capturing(self) -> Iterator[list[torch.Tensor]]:
        """Within this context a forward stops at the cut, and the yielded list then holds the fields' tensors."""
        captured: list[torch.Tensor] = []

        def stop(structure: Any) -> None:
            leaves, _ = tree_flatten(structure)
            captured[:] = [leaves[field.leaf].detach() for field in self.fields]
            raise CutReached

        if self.part is None:
            handle = self._backbone.base.register_forward_hook(lambda module, args, output: stop(output))
        else:
            handle = self.part.register_forward_pre_hook(
                lambda module, args, kwargs: stop((args, kwargs)), with_kwargs=True
            )
        try:
            yield captured
        except CutReached:
            pass
        finally:
            handle.remove()

    @contextmanager
    def injecting(self, values: Sequence[torch.Tensor], inputs: Inputs) -> Iterator[None]:
        """Within this context a forward of `inputs` starts at the cut.

        Args:
            values: A tensor for each field, (batch, ...), which replaces the one that arrives at the cut.
            inputs: The model's inputs. Stubs take their sizes.
        """
        with ExitStack() as stack:
            device = values[0].device
            replacements = dict(zip([f.leaf for f in self.fields], values, strict=True))
            if self.part is None:
                answer = instantiate(self.template, inputs, device, replacements)
                stack.enter_context(stubbed(self._backbone.base, answer))
            else:
                for part, outputs in self._stubs:
                    stack.enter_context(stubbed(part, instantiate(outputs, inputs, device, {})))

                def arrive(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
                    leaves, spec = tree_flatten((args, kwargs))
                    for leaf, value in replacements.items():
                        leaves[leaf] = value
                    arguments: tuple[Any, Any] = tree_unflatten(leaves, spec)
                    return arguments

                stack.callback(self.part.register_forward_pre_hook(arrive, with_kwargs=True).remove)
            yield


def capture(cut: Cut, forward: Forward, inputs: Inputs) -> list[torch.Tensor]:
    """Run a forward up to the cut, without gradients, and return the fields' tensors, (batch, ...) each."""
    with torch.no_grad(), cut.capturing() as captured:
        forward(inputs)
    return captured


def _has_parameters(part: nn.Module) -> bool:
    return next(part.parameters(), None) is not None
