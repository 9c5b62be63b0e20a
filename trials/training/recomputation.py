"""Gradient checkpointing: blocks keep their inputs alone, and compute the rest again for their gradients.

Memory then holds the inputs of every block and the inner values of one (Chen et al. 2016, Training Deep Nets with
Sublinear Memory Cost, section 4.1), for one more forward pass. The engine uses it where the spec asks for it. What a
block draws at random and the statistics that it keeps are the same both times, so results stay the same, too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import is_grad_enabled, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint
from transformers import Cache

from luthier.trials.prefix.attention import current_layout
from luthier.trials.training.seeding import generator_states, with_generator_states


@contextmanager
def recomputing(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Within this context forward and backward pass keep the inputs of these blocks, and compute the rest again.

    Only `forward` is exchanged: hooks of a block, by which the frozen-prefix cache and the shortcuts work, run once.
    """
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(_exchanged(block))
        yield


@contextmanager
def _exchanged(block: nn.Module) -> Iterator[None]:
    own = block.__dict__.get("forward")
    block.forward = partial(_recomputed, block, block.forward)
    try:
        yield
    finally:
        if own is None:
            del block.forward
        else:
            block.forward = own


def _recomputed(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a block's forward, so that its inner values are not kept.

    Args:
        block: The block.
        forward: Its own function.
        args: Its arguments. A cache of keys and values is left out: the second time it would hold them already, and
            one forward over the whole input needs none.
        kwargs: The same, by name.
    """
    if not is_grad_enabled():
        return forward(*args, **kwargs)
    leaves, form = tree_flatten((args, kwargs), is_leaf=lambda value: isinstance(value, Cache))
    leaves = [None if isinstance(leaf, Cache) else leaf for leaf in leaves]

    def compute(*values: Any) -> Any:
        positional, named = tree_unflatten(list(values), form)
        return forward(*positional, **named)

    return checkpoint(compute, *leaves, use_reentrant=False, context_fn=partial(_contexts, block))


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the context of a block's first computation, which is about to begin, and that of its second."""
    return nullcontext(), _as_before(block, current_layout.get(), generator_states())


@contextmanager
def _as_before(block: nn.Module, layout: Any, states: Any) -> Iterator[None]:
    """Within this context a block computes what it did: the same layout, the same draws, unchanged statistics."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    kept = [(norm, norm.momentum) for norm in norms]
    token = current_layout.set(layout)
    try:
        with with_generator_states(states):
            for norm in norms:
                norm.momentum = 0.0
            yield
    finally:
        current_layout.reset(token)
        for norm, momentum in kept:
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
