"""Sequences without their padding.

Nearly all that a block computes it computes token by token; only attention looks from one token to another. So the
blocks get the tokens of a batch in one row, without padding, and attention alone sees the padded batch. Like a cut,
that is tried against the whole forward first, and not done where a model's code does otherwise.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from luthier.trials.memory import out_of_memory
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.attention import NAME, Layout, current
from luthier.trials.prefix.cut import Forward, Probe
from luthier.trials.prefix.shapes import Inputs

MASK = "attention_mask"


@contextmanager
def without_padding(blocks: Sequence[nn.Module], inputs: Inputs, lengths: Sequence[int]) -> Iterator[None]:
    """Within it, a forward of `inputs`, padded on the right, computes these consecutive blocks without padding.

    `lengths` are those of the batch's examples: to read them off the mask would wait for the device.
    """
    mask = inputs.get(MASK)
    if not blocks or mask is None or mask.ndim != 2 or min(lengths) == mask.shape[1]:
        yield
        return
    rows = [torch.arange(length) + row * mask.shape[1] for row, length in enumerate(lengths)]
    layout = Layout(mask.shape[0], mask.shape[1], torch.cat(rows).to(mask.device, non_blocking=True))
    padded = {(layout.batch, layout.tokens), (1, layout.tokens)}

    def pack(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim == 3 and tuple(value.shape[:2]) in padded:
            return layout.pack(value)
        return value

    def enter(block: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        current.layout = layout
        arrived: tuple[Any, Any] = tree_map(pack, (args, kwargs))
        return arrived

    def leave(block: nn.Module, args: Any, output: Any) -> Any:
        current.layout = None
        if block is not blocks[-1]:
            return output
        if isinstance(output, torch.Tensor):
            return layout.unpack(output)
        return (layout.unpack(output[0]), *output[1:])

    with ExitStack() as stack:
        stack.callback(setattr, current, "layout", None)
        for block in blocks:
            stack.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
            stack.callback(block.register_forward_hook(leave).remove)
        yield


def has_padding(probe: Probe) -> bool:
    """Whether packing would change anything for these examples."""
    return MASK in probe.inputs and min(probe.lengths) < probe.inputs[MASK].shape[1]


def packs(backbone: Backbone, forward: Forward, probe: Probe) -> bool:
    """Whether a model in evaluation mode computes the same on sequences without padding, tried on examples of different
    lengths. If so, it has the attention function for it from here on."""
    model = backbone.model
    if not has_padding(probe) or getattr(model.config, "_attn_implementation", None) not in ("sdpa", NAME):
        return False
    before = model.config._attn_implementation
    with torch.no_grad():
        expected = probe.logits(forward)
        model.set_attn_implementation(NAME)
        try:
            with without_padding(backbone.blocks, probe.inputs, probe.lengths):
                if probe.agrees(probe.logits(forward), expected):
                    return True
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            if out_of_memory(error):
                raise
    model.set_attn_implementation(before)
    return False
