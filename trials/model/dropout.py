"""Dropout on the CPU from sixteen random bits per element, several times faster than torch's own.

Loading a model installs it in the model's dropout layers, and the attention function calls it. Probabilities are
rounded to 1/65536. All draws come from one generator, which `training.seeding.seed_everything` seeds. On a GPU
torch's own dropout is used.
"""

from collections.abc import Mapping
from typing import Any

import numpy
import torch
from torch import nn

_LEVELS = 1 << 16
_draws = numpy.random.Generator(numpy.random.SFC64(0))


def seed(value: int) -> None:
    """Seed the generator of all draws."""
    global _draws
    _draws = numpy.random.Generator(numpy.random.SFC64(value))


def state() -> Mapping[str, Any]:
    """Return the state of the generator of all draws."""
    return _draws.bit_generator.state


def set_state(value: Mapping[str, Any]) -> None:
    """Continue with the draws that came after `state` returned this value."""
    _draws.bit_generator.state = value


def dropout(values: torch.Tensor, probability: float) -> torch.Tensor:
    """Set each value to zero with a probability, and scale the others so that the mean stays.

    Args:
        values: A float tensor of any shape, on the CPU.
        probability: From 0 to 1; rounded to 1/65536, and at most 65535/65536.

    Returns:
        A tensor of the same shape; `values` itself if the probability rounds to 0.
    """
    dropped = min(round(probability * _LEVELS), _LEVELS - 1)
    if dropped == 0:
        return values
    bits = _draws.integers(0, 1 << 64, -(-values.numel() // 4), dtype=numpy.uint64).view(numpy.int16)
    mask = torch.from_numpy(bits)[: values.numel()].view(values.shape) >= dropped - _LEVELS // 2
    return values * mask.to(values.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def enable_shortcuts(model: nn.Module) -> None:
    """Make every dropout layer of a model use `dropout` when its input is on the CPU.

    A layer's class is exchanged in place: its name, its place in the model and its attributes stay.
    """
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = _Dropout


class _Dropout(nn.Dropout):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or input.device.type != "cpu" or not input.is_floating_point():
            return super().forward(input)
        return dropout(input, self.p)
