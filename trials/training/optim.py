"""Optimizers, learning-rate schedules and the penalties of a configuration."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from luthier.studies.hyperparameters import Params

SGD_MOMENTUM = 0.9


def parameter_groups(model: nn.Module, layers: Mapping[str, int], top: int, params: Params) -> list[dict[str, Any]]:
    """Trainable parameters by (layer, whether weight decay applies), each group with its `scale` on the rate.

    Layer `top` is the head's; a block below it has the factor layer_decay, the next one its square, and so on (ELECTRA,
    Clark et al. 2020, appendix B). Vectors - biases and norms - get no weight decay.
    """
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((layers[name], parameter.ndim > 1), []).append(parameter)
    decay, weight_decay = float(params["layer_decay"]), float(params["weight_decay"])
    return [
        {"params": members, "scale": decay ** (top - layer), "weight_decay": weight_decay if decays else 0.0}
        for (layer, decays), members in groups.items()
    ]


def make_optimizer(groups: list[dict[str, Any]], params: Params) -> torch.optim.Optimizer:
    """The optimizer of the configuration, in one fused kernel per step."""
    rate, name = float(params["learning_rate"]), params["optimizer"]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=SGD_MOMENTUM, fused=True)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, fused=True)


def schedule(params: Params, steps: int) -> Callable[[int], float]:
    """Factor on the learning rate at optimizer step 0 to `steps` - 1: linear warm-up, then the decay."""
    warmup = round(float(params["warmup_ratio"]) * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1, steps - warmup)  # 0 to below 1
        if params["scheduler"] == "constant":
            return 1.0
        return 1.0 - done if params["scheduler"] == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

    return factor


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


@torch.no_grad()
def add_l1(optimizer: torch.optim.Optimizer, strength: float) -> None:
    """Add the gradient of strength * sum |w| over the trainable weights, biases and norms excepted."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.ndim > 1 and parameter.grad is not None:
                parameter.grad.add_(parameter.sign(), alpha=strength)


def class_weights(labels: torch.Tensor, classes: int, params: Params) -> torch.Tensor | None:
    """Loss weight of each class: rows / (classes * rows of the class) when balanced, as in scikit-learn."""
    if params["class_weighting"] == "none":
        return None
    counts = torch.bincount(labels, minlength=classes)
    return len(labels) / (classes * counts.clamp(min=1).float())
