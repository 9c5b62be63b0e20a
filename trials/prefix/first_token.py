"""First-token-only: the last block computes the first token's output alone ("CLS-only last block").

A classifier that uses an encoder's first token needs no other token's output of the last block, only their keys and
values. With hidden size H, a forward then runs in four steps:

1. The block is given the first token alone: hidden (batch, tokens, H) becomes (batch, 1, H).
2. Its query projection gets that token; its key and value projections get the whole sequence, (batch, tokens, H).
3. The block's code reshapes keys and values as if they had one token: (batch, tokens * heads, 1, head size). The
   function in `attention` undoes that, and gives (batch, 1, heads, head size).
4. The feed-forward part gets (batch, 1, H), and the block's output is repeated for every token.

That saves most of a block at any freeze depth below the last block. Like a cut it is compared with the whole forward
first, and is not used where the logits differ.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from luthier.trials.memory import out_of_memory
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.attention import NAME, uses_sdpa
from luthier.trials.prefix.probe import FIRST, Forward, Probe, random_projection, token_kind

PROJECTIONS = ("key", "value", "k_lin", "v_lin", "k_proj", "v_proj")  # names of key and value layers in blocks


class FirstTokenOnly:
    """The last block of a model, computed for its first token.

    Args:
        block: The block.
        projections: The names of its key and value projections, in the block.
        norm: The layer that normalizes the block's input before the projections, if any.
    """

    def __init__(self, block: nn.Module, projections: Sequence[str], norm: nn.Module | None) -> None:
        self._block = block
        self._projections = projections
        self._norm = norm

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within this context a forward computes only what the first token of the last block needs."""
        whole: list[torch.Tensor] = []  # the input of the block and that of its projections; (batch, tokens, H) each

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

            arguments: tuple[Any, Any] = tree_map(first, (args, kwargs))
            return arguments

        def project_all(projection: nn.Module, args: tuple[Any, ...]) -> tuple[torch.Tensor]:
            return (whole[1],)

        def leave(block: nn.Module, args: Any, output: Any) -> Any:
            tokens = whole[0].shape[1]
            whole.clear()
            if isinstance(output, torch.Tensor):
                return output.expand(-1, tokens, -1)
            return (output[0].expand(-1, tokens, -1), *output[1:])

        with ExitStack() as stack:
            stack.callback(self._block.register_forward_pre_hook(enter, with_kwargs=True).remove)
            for name in self._projections:  # looked up each time: an adapter may have replaced a projection
                projection = self._block.get_submodule(name)
                stack.callback(projection.register_forward_pre_hook(project_all).remove)
            stack.callback(self._block.register_forward_hook(leave).remove)
            yield


def find_first_token_only(backbone: Backbone, forward: Forward, probe: Probe) -> FirstTokenOnly | None:
    """Find how a model's last block can be computed for its first token; if found, give the model NAME as attention.

    Args:
        backbone: The blocks of a model in evaluation mode.
        forward: Computes the model's logits in float32.
        probe: Examples to compare the logits on.

    Returns:
        None where the head uses other tokens too, or the block's code does not allow it.
    """
    model = backbone.model
    block = backbone.blocks[-1]
    projections = [name for name, _ in block.named_modules() if name.rpartition(".")[2] in PROJECTIONS]
    if len(projections) != 2 or not uses_sdpa(model):
        return None
    if _tokens_in_use(block, forward, probe) != FIRST:
        return None
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    norms = [m for m in block.children() if "norm" in type(m).__name__.lower()]
    with torch.no_grad():
        expected = probe.logits(forward)
        for norm in (None, *norms):
            candidate = FirstTokenOnly(block, projections, norm)
            try:
                with candidate.active():
                    logits = probe.logits(forward)
            except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, StopIteration) as error:
                if out_of_memory(error):
                    raise
                continue
            if probe.is_close(logits, expected):
                return candidate
    model.set_attn_implementation(before)
    return None


def _tokens_in_use(block: nn.Module, forward: Forward, probe: Probe) -> str | None:
    """Return which tokens of the block's output the logits depend on; None if its output has not three dimensions."""
    variable: list[torch.Tensor] = []

    def watch(module: nn.Module, args: Any, output: Any) -> Any:
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        variable[:] = [hidden.detach().requires_grad_()]
        return variable[0] if isinstance(output, torch.Tensor) else (variable[0], *output[1:])

    handle = block.register_forward_hook(watch)
    try:
        with torch.enable_grad():
            target = random_projection(probe.logits(forward))
    finally:
        handle.remove()
    if not variable or variable[0].ndim != 3:
        return None
    (gradient,) = torch.autograd.grad(target, variable, allow_unused=True)
    return None if gradient is None else token_kind(gradient, probe.lengths)
