"""Unpadding: blocks that run without the batch's padding.

Blocks compute nearly everything token by token; only attention combines tokens. So the blocks get
the tokens of a batch in one row, without padding, and attention alone gets the padded batch. The search for shortcuts
calls `supports_unpadding` first, which compares the logits with the whole forward's, and no block is unpadded where
they differ.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from luthier.trials.memory import out_of_memory
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.attention import NAME, PaddedLayout, current_layout, uses_sdpa
from luthier.trials.prefix.axes import Inputs
from luthier.trials.prefix.probe import Forward, Probe
from luthier.trials.transfer import sent

MASK = "attention_mask"


@contextmanager
def unpadded(blocks: Sequence[nn.Module], inputs: Inputs, lengths: Sequence[int]) -> Iterator[None]:
    """Within this context a forward of `inputs` runs these blocks without padding.

    Args:
        blocks: Consecutive blocks; none: nothing changes.
        inputs: The model's inputs, padded on the right.
        lengths: Tokens of each example, without padding: reading them off the mask would wait for the device.
    """
    mask = inputs.get(MASK)
    if not blocks or mask is None or mask.ndim != 2 or min(lengths) == mask.shape[1]:
        yield
        return
    rows = [torch.arange(length) + row * mask.shape[1] for row, length in enumerate(lengths)]
    layout = PaddedLayout(mask.shape[0], mask.shape[1], sent(torch.cat(rows), mask.device))
    padded = {(layout.batch, layout.tokens), (1, layout.tokens)}

    def unpad(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim == 3 and tuple(value.shape[:2]) in padded:
            return layout.unpad(value)
        return value

    def enter(block: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        current_layout.set(layout)
        arguments: tuple[Any, Any] = tree_map(unpad, (args, kwargs))
        return arguments

    def leave(block: nn.Module, args: Any, output: Any) -> Any:
        current_layout.set(None)
        if block is not blocks[-1]:
            return output
        if isinstance(output, torch.Tensor):
            return layout.pad(output)
        return (layout.pad(output[0]), *output[1:])

    with ExitStack() as stack:
        stack.callback(current_layout.set, None)
        for block in blocks:
            stack.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
            stack.callback(block.register_forward_hook(leave).remove)
        yield


def has_padding(probe: Probe) -> bool:
    """Return whether a batch has padding, so that unpadding would change something."""
    return MASK in probe.inputs and min(probe.lengths) < probe.inputs[MASK].shape[1]


def supports_unpadding(backbone: Backbone, forward: Forward, probe: Probe) -> bool:
    """Return whether a model computes the same logits without padding; if so, give it the attention function for it.

    Args:
        backbone: The blocks of a model in evaluation mode.
        forward: Computes the model's logits in float32.
        probe: Examples of different lengths; without padding among them the answer is False.
    """
    model = backbone.model
    if not has_padding(probe) or not uses_sdpa(model):
        return False
    before = model.config._attn_implementation
    with torch.no_grad():
        expected = probe.logits(forward)
        model.set_attn_implementation(NAME)
        try:
            with unpadded(backbone.blocks, probe.inputs, probe.lengths):
                if probe.is_close(probe.logits(forward), expected):
                    return True
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            if out_of_memory(error):
                raise
    model.set_attn_implementation(before)
    return False
