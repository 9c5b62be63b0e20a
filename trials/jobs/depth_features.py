"""The features of each freeze depth: what the frozen part hands to the first block above it, averaged over places.

`linear_probe.py` collects them in the pass that it makes anyway. It changes nothing about a model.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from luthier.trials.model.backbone import Backbone


def depth_name(depth: int) -> str:
    """Return the name of a depth's features."""
    return f"depth {depth}"


def tensor_of(output: Any) -> torch.Tensor | None:
    """Return a module's output, or the first of several, if it is a tensor of rows with features."""
    hidden = output
    if not isinstance(output, torch.Tensor):
        try:
            hidden = output[0]
        except (TypeError, KeyError, IndexError):
            return None
    return hidden.float() if isinstance(hidden, torch.Tensor) and hidden.ndim > 1 else None


def token_mask(hidden: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return which places of (rows, places, hidden) are no padding, as far as the inputs tell: (rows, places)."""
    mask = inputs.get("attention_mask")
    if mask is None or mask.shape != hidden.shape[:2]:
        return torch.ones(hidden.shape[:2], device=hidden.device)
    return mask


def mean_of(hidden: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the mean over places of the hidden values of rows: (rows, hidden), float32, on the CPU.

    Args:
        hidden: (rows, places, hidden); (rows, channels, height, width) of convolutions; or (rows, hidden).
        inputs: The model's.
    """
    hidden = hidden.float()
    if hidden.ndim != 3:
        return hidden.flatten(2).mean(2).cpu() if hidden.ndim > 2 else hidden.cpu()
    weight = token_mask(hidden, inputs)[..., None].float()
    return ((hidden * weight).sum(1) / weight.sum(1).clamp(min=1)).cpu()


@contextmanager
def watched(backbone: Backbone) -> Iterator[dict[str, torch.Tensor]]:
    """Keep what comes out of each block in forwards within the context, and what goes into the bottom one.

    Args:
        backbone: The model's blocks; of one that is called several times, the last call counts.

    Yields:
        Depth's name -> hidden values of the latest forward; a depth whose block gives no tensor first is missing.
    """
    kept: dict[str, torch.Tensor] = {}

    def keep(depth: int, value: Any) -> None:
        hidden = tensor_of(value)
        if hidden is not None:
            kept[depth_name(depth)] = hidden

    def below(module: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        keep(0, args or tuple(kwargs.values()))

    handles = [backbone.blocks[0].register_forward_pre_hook(below, with_kwargs=True)]
    for depth, block in enumerate(backbone.blocks[: backbone.depth], 1):
        handles.append(block.register_forward_hook(lambda module, args, output, depth=depth: keep(depth, output)))
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()
