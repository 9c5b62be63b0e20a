"""Only the needed token in the last block.

A classifier that looks at an encoder's first token needs of the last block that token's output alone: its query, its
feed-forward; only keys and values are wanted of every token. That is most of a block saved, whatever the freeze depth
below the last block. The block is given the first token; before its key and value projections the whole sequence is
put back; and the attention function undoes the shape that the block's code gave the keys meanwhile. Like a cut, it is
tried against the whole forward first and not used where it differs.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from luthier.trials.memory import out_of_memory
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.attention import NAME
from luthier.trials.prefix.cut import Forward, Probe, token_kind

PROJECTIONS = ("key", "value", "k_lin", "v_lin", "k_proj", "v_proj")


class Narrow:
    """The last block of a model, for its first token."""

    def __init__(self, block: nn.Module, projections: Sequence[str], norm: nn.Module | None) -> None:
        self._block, self._projections, self._norm = block, projections, norm  # projections: names in the block

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within it, a forward computes only what the first token of the last block needs."""
        whole: list[torch.Tensor] = []

        def enter(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            hidden = next(a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor))
            tokens = hidden.shape[1]
            whole[:] = [hidden, hidden if self._norm is None else self._norm(hidden)]

            def first(value: Any) -> Any:
                if value is hidden:
                    return hidden[:, :1]
                if isinstance(value, torch.Tensor) and value.ndim == 4 and value.shape[2:] == (tokens, tokens):
                    return value[:, :, :1]  # a mask, (batch, heads, queries, keys)
                return value

            made: tuple[Any, Any] = tree_map(first, (args, kwargs))
            return made

        def everything(projection: nn.Module, args: tuple[Any, ...]) -> tuple[torch.Tensor]:
            return (whole[1],)

        def leave(block: nn.Module, args: Any, output: Any) -> Any:
            tokens = whole[0].shape[1]
            whole.clear()
            if isinstance(output, torch.Tensor):
                return output.expand(-1, tokens, -1)
            return (output[0].expand(-1, tokens, -1), *output[1:])

        with ExitStack() as stack:
            stack.callback(self._block.register_forward_pre_hook(enter, with_kwargs=True).remove)
            for name in self._projections:  # looked up anew: an adapter may have taken a projection's place
                projection = self._block.get_submodule(name)
                stack.callback(projection.register_forward_pre_hook(everything).remove)
            stack.callback(self._block.register_forward_hook(leave).remove)
            yield


def find_narrow(backbone: Backbone, forward: Forward, probe: Probe) -> Narrow | None:
    """How to narrow a model in evaluation mode, tried on a few examples; None where its head looks at other tokens
    too, or its last block is written in another way. Gives the model the attention function that it takes."""
    model, block = backbone.model, backbone.blocks[-1]
    projections = [name for name, _ in block.named_modules() if name.rpartition(".")[2] in PROJECTIONS]
    if len(projections) != 2 or getattr(model.config, "_attn_implementation", None) not in ("sdpa", NAME):
        return None
    if _looked_at(block, forward, probe) != "first":
        return None
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    norms = [m for m in block.children() if "norm" in type(m).__name__.lower()]
    with torch.no_grad():
        expected = probe.logits(forward)
        for norm in (None, *norms):
            narrow = Narrow(block, projections, norm)
            try:
                with narrow.active():
                    found = probe.logits(forward)
            except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, StopIteration) as error:
                if out_of_memory(error):
                    raise
                continue
            if probe.agrees(found, expected):
                return narrow
    model.set_attn_implementation(before)
    return None


def _looked_at(block: nn.Module, forward: Forward, probe: Probe) -> str | None:
    """Which tokens of the last block's output the head looks at."""
    leaf: list[torch.Tensor] = []

    def watch(module: nn.Module, args: Any, output: Any) -> Any:
        first = output if isinstance(output, torch.Tensor) else output[0]
        leaf[:] = [first.detach().requires_grad_()]
        return leaf[0] if isinstance(output, torch.Tensor) else (leaf[0], *output[1:])

    handle = block.register_forward_hook(watch)
    try:
        with torch.enable_grad():
            logits = probe.logits(forward)
    finally:
        handle.remove()
    if not leaf or leaf[0].ndim != 3:
        return None
    weight = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).to(logits)
    (gradient,) = torch.autograd.grad((logits * weight).sum(), leaf, allow_unused=True)
    return None if gradient is None else token_kind(gradient, probe.lengths)
