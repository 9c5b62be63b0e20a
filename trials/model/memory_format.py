"""The memory format of convolutions: channels first, as checkpoints have it, or channels last, which is faster.

`ModelCache` arranges a model for the job that it is opened for. Between formats a result differs by rounding alone.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

LEAST_SHARE = 0.4
"""Of a model's weights that must be in convolutions for channels last. Where most are in matrix products (ConvNeXt,
SegFormer, Swin) nothing is gained, and in a vision transformer convolutions only cut the image into patches."""


def is_convolutional(model: nn.Module) -> bool:
    """Return whether a model is made of convolutions over images, for which channels last was measured to be faster.

    `benchmarks/families.py` measures it by family.
    """
    patches = [layer for layer in _convolutions(model) if layer.stride == layer.kernel_size and layer.stride != (1, 1)]
    weights = sum(layer.weight.numel() for layer in _convolutions(model) if layer not in patches)
    return weights >= LEAST_SHARE * sum(parameter.numel() for parameter in model.parameters())


def is_channels_last(model: nn.Module) -> bool:
    """Return whether a model is arranged for channels last."""
    return any(_is_last(layer.weight) for layer in _convolutions(model))


def arrange(model: nn.Module, *, channels_last: bool) -> None:
    """Put the weights of a model's convolutions into a memory format; their values and names stay."""
    for layer in _convolutions(model):
        layer.weight.data = layer.weight.data.contiguous(memory_format=_format(channels_last))


def images_last(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a model's inputs with those that are images, (rows, channels, height, width), in channels last."""
    return {
        name: values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values
        for name, values in inputs.items()
    }


def like(values: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return a tensor in channels last, if it has four dimensions and one of a model's inputs is in that format."""
    if values.ndim != 4 or not any(_is_last(own[:1]) for own in inputs.values()):
        return values
    return values.contiguous(memory_format=torch.channels_last)


def _convolutions(model: nn.Module) -> Iterator[nn.Conv2d | nn.ConvTranspose2d]:
    return (layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d))


def _format(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _is_last(values: torch.Tensor) -> bool:
    """Return whether a tensor is in channels last, and not in the usual format at the same time."""
    return values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last) and not values.is_contiguous()
