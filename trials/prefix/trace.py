"""Traces of whole forwards: the calls of a backbone's parts, in order, with arguments and results.

The search for a cut records them. A trace changes nothing about the model.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.probe import Forward, Probe
from luthier.trials.prefix.shapes import Inputs, PassThrough


@dataclass
class ForwardTrace:
    """The record of a whole forward of a probe.

    Attributes:
        inputs: The model's inputs.
        logits: The logits that count.
        order: The backbone's parts in the order of their calls, with repeats.
        outputs: The result of each part's first call, by the part's id; arguments that it returned are a PassThrough.
        arguments: Positional and keyword arguments of each part's first call, by the part's id.
        base_output: The result of the whole backbone.
    """

    inputs: Inputs
    logits: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    order: list[nn.Module] = field(default_factory=list)
    outputs: dict[int, Any] = field(default_factory=dict)
    arguments: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    base_output: Any = None


def trace_forward(backbone: Backbone, forward: Forward, probe: Probe) -> ForwardTrace:
    """Run one whole forward of a probe, and record the calls of the backbone's parts."""
    trace = ForwardTrace(probe.inputs)

    def before(part: nn.Module, args: Any, kwargs: Any) -> None:
        trace.order.append(part)
        trace.arguments.setdefault(id(part), (args, dict(kwargs)))

    def after(part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        arguments = {id(leaf): i for i, leaf in reversed([*enumerate(tree_flatten((args, kwargs))[0])])}
        leaves, spec = tree_flatten(output)
        marked = [
            PassThrough(arguments[id(x)]) if isinstance(x, torch.Tensor) and id(x) in arguments else x for x in leaves
        ]
        trace.outputs.setdefault(id(part), tree_unflatten(marked, spec))

    def end(base: nn.Module, args: Any, output: Any) -> None:
        trace.base_output = output

    with ExitStack() as stack:
        for part in backbone.parts():
            stack.callback(part.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(part.register_forward_hook(after, with_kwargs=True).remove)
        stack.callback(backbone.base.register_forward_hook(end).remove)
        trace.logits = probe.logits(forward)
    return trace
