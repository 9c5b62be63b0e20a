"""Dropout on the CPU from sixteen random bits an element, several times faster than torch's own draws.

Probabilities are rounded to 1/65536. Draws come from one generator, which `data.batches.seed_everything` seeds.
"""

import numpy
import torch
from torch import nn

_LEVELS = 1 << 16
_draws = numpy.random.Generator(numpy.random.SFC64(0))


def seed(value: int) -> None:
    """Begin the draws anew."""
    global _draws
    _draws = numpy.random.Generator(numpy.random.SFC64(value))


def dropout(values: torch.Tensor, probability: float) -> torch.Tensor:
    """Values on the CPU, each zero with the probability given and else scaled so that the mean stays."""
    dropped = min(round(probability * _LEVELS), _LEVELS - 1)
    if dropped == 0:
        return values
    bits = _draws.integers(0, 1 << 64, -(-values.numel() // 4), dtype=numpy.uint64).view(numpy.int16)
    kept = torch.from_numpy(bits)[: values.numel()].view(values.shape) >= dropped - _LEVELS // 2
    return values * kept.to(values.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def enable_shortcuts(model: nn.Module) -> None:
    """Have every dropout layer of a model draw in this way, where it is on the CPU."""
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = _Dropout


class _Dropout(nn.Dropout):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or input.device.type != "cpu" or not input.is_floating_point():
            return super().forward(input)
        return dropout(input, self.p)
