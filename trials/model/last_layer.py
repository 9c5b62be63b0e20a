"""The last layer of a model's head: found, left out to see what goes into it, and scaled.

Regression trains in units of the targets' deviation, and hands out models whose outputs are in the data's units. Linear
probes solve the layer for the features that go into it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from luthier.trials.model.blocks import head_of

CLOSE = 1e-4
"""How far an output with the folded scale may be from the scaled one, by the size of deviation and output."""


def fold_scale(model: PreTrainedModel, mean: float, deviation: float, outputs: Callable[[], torch.Tensor]) -> bool:
    """Change the last layer so that the model gives mean + deviation * output, if it has one that can, and say so.

    Args:
        model: It has one output.
        mean: What is added.
        deviation: The factor.
        outputs: Returns the model's outputs to a fixed example, by which the change is checked: a model may have two
            last layers, or something behind them.

    Returns:
        Whether it was done; else the model is as it was.
    """
    layer = last_linear(model, 1)
    if layer is None or layer.bias is None:  # decoders have no bias, and so no place for the mean
        return False
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    wanted = outputs().double() * deviation + mean
    with torch.no_grad():
        layer.weight.copy_(weight.double() * deviation)
        layer.bias.copy_(bias.double() * deviation + mean)
    if bool(((outputs().double() - wanted).abs() <= CLOSE * (deviation + wanted.abs())).all()):
        return True
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return False


def last_linear(model: PreTrainedModel, outputs: int) -> nn.Linear | None:
    """Return the last linear layer of a model's head with so many outputs, or None."""
    head = head_of(model)
    found = None
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and f"{name}.weight" in head and module.out_features == outputs:
            found = module
    return found


@contextmanager
def left_out(model: PreTrainedModel, layer: nn.Linear) -> Iterator[None]:
    """Let a model give the features that go into its last layer in place of its outputs, within the context."""
    name = next(name for name, module in model.named_modules() if module is layer)
    parent = model.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Identity())
    try:
        yield
    finally:
        setattr(parent, name.rpartition(".")[2], layer)
