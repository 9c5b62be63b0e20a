"""Traces of whole forwards: the calls of a backbone's parts, in order, with their results.

The search for a cut records them. A trace changes nothing about the model.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.axes import Inputs
from luthier.trials.prefix.probe import Forward, Probe
from luthier.trials.prefix.shapes import PassThrough


@dataclass
class Call:
    """One call of a part in a traced forward.

    Attributes:
        part: The part.
        number: How many times the part was called before, in this forward.
        output: Its result, where arguments that it returned unchanged are a PassThrough, and tensors have no values.
        values: The tensors of the result as they were, by their index in the flattened result.
        arguments: The shapes of the tensors among the flattened arguments, by their index.
    """

    part: nn.Module
    number: int
    output: Any = None
    values: dict[int, torch.Tensor] = field(default_factory=dict)
    arguments: dict[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class ForwardTrace:
    """The record of a whole forward of a probe.

    Attributes:
        inputs: The model's inputs.
        logits: The logits that count.
        calls: The calls of the backbone's parts, in their order.
        base: The calls of the whole backbone; none where the model calls a part of it.
    """

    inputs: Inputs
    logits: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    calls: list[Call] = field(default_factory=list)
    base: list[Call] = field(default_factory=list)


def trace_forward(backbone: Backbone, forward: Forward, probe: Probe, keep_values: bool = False) -> ForwardTrace:
    """Run one whole forward of a probe, and record the calls of the backbone's parts.

    Args:
        backbone: The model's blocks.
        forward: Computes the model's outputs.
        probe: The examples.
        keep_values: True to keep copies of what the parts returned: the model may change the tensors themselves.
    """
    trace = ForwardTrace(probe.inputs)
    with ExitStack() as stack:
        for part in backbone.parts():
            _record(part, trace.calls, keep_values, stack)
        _record(backbone.base, trace.base, keep_values, stack)
        trace.logits = probe.logits(forward)
    return trace


def _record(part: nn.Module, calls: list[Call], keep_values: bool, stack: ExitStack) -> None:
    """Append each call of a part to `calls`, until the stack is closed."""
    begun: list[tuple[Call, dict[int, tuple[int, int]]]] = []  # arguments: (index, version) by the tensor's id

    def before(part: nn.Module, args: Any, kwargs: Any) -> None:
        call = Call(part, sum(other.part is part for other in calls))
        calls.append(call)
        tensors = [(i, x) for i, x in enumerate(tree_flatten((args, kwargs))[0]) if isinstance(x, torch.Tensor)]
        call.arguments = {i: tuple(x.shape) for i, x in tensors}
        begun.append((call, {id(x): (i, x._version) for i, x in tensors}))

    def after(part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        call, arguments = begun.pop()
        leaves, spec = tree_flatten(output)
        for i, leaf in enumerate(leaves):
            if not isinstance(leaf, torch.Tensor):
                continue
            argument, version = arguments.get(id(leaf), (-1, 0))
            if argument >= 0 and leaf._version == version:
                leaves[i] = PassThrough(argument)
                continue
            leaves[i] = torch.empty_like(leaf, device="meta")
            if keep_values:
                call.values[i] = leaf.detach().clone()
        call.output = tree_unflatten(leaves, spec)

    stack.callback(part.register_forward_pre_hook(before, with_kwargs=True).remove)
    stack.callback(part.register_forward_hook(after, with_kwargs=True).remove)
