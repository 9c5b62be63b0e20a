"""A configuration's optimizer, learning-rate schedule and penalties.

Set-up and the training loop call it. transformers' `get_scheduler` is not used: its warm-up begins with a step at
learning rate 0, and its result keeps a count of steps, while a trial that continues needs a function of the step.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from luthier.studies.hyperparameters import Params
from luthier.trials.model.backbone import Backbone

SGD_MOMENTUM = 0.9
OPTIMIZER_STATES = {"adamw": 2, "adam": 2, "sgd": 1}
"""Tensors that an optimizer keeps for each trained one."""


@dataclass(frozen=True)
class Optimization:
    """The optimizer of a trial, and the schedule of its learning rate.

    Attributes:
        optimizer: Its groups have a `scale`: the factor on the learning rate for the group's layer.
        factor: Optimizer step, from 0 -> the schedule's factor on the learning rate.
    """

    optimizer: torch.optim.Optimizer
    factor: Callable[[int], float]


def build(model: nn.Module, backbone: Backbone, params: Params, steps: int) -> Optimization:
    """Return the optimizer and the learning-rate schedule of a configuration.

    Args:
        model: Frozen to the configuration's depth; the optimizer changes its trainable parameters.
        backbone: The model's, with the layers of its adapters where it has some.
        params: The configuration.
        steps: Optimizer steps of the whole trial.
    """
    groups = parameter_groups(model, backbone.layers, len(backbone.blocks) + 1, params)
    return Optimization(make_optimizer(groups, params), schedule(params, steps))


def parameter_groups(model: nn.Module, layers: Mapping[str, int], top: int, params: Params) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups by layer and by whether weight decay applies to them.

    The head's layer has the factor 1 on the learning rate, the block below it layer_decay, the next one its square, and
    so on (ELECTRA, Clark et al. 2020, appendix B). Vectors (biases and norms) get no weight decay.

    Args:
        model: Frozen to the configuration's depth.
        layers: Parameter name -> layer.
        top: The head's layer.
        params: The configuration.

    Returns:
        Groups for a torch optimizer, each with its factor on the learning rate as `scale`.
    """
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((layers[name], parameter.ndim > 1), []).append(parameter)
    layer_decay = float(params["layer_decay"])
    weight_decay = float(params["weight_decay"])
    return [
        {"params": members, "scale": layer_decay ** (top - layer), "weight_decay": weight_decay if decays else 0.0}
        for (layer, decays), members in groups.items()
    ]


def make_optimizer(groups: list[dict[str, Any]], params: Params) -> torch.optim.Optimizer:
    """Return the configuration's optimizer over `groups`; a step is one fused kernel."""
    rate = float(params["learning_rate"])
    name = params["optimizer"]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=SGD_MOMENTUM, fused=True)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, fused=True)


def schedule(params: Params, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the optimizer step: linear warm-up, then the decay.

    Args:
        params: The configuration: `scheduler` and `warmup_ratio`.
        steps: Optimizer steps of the whole trial; the function takes 0 to `steps` - 1.
    """
    warmup_steps = round(float(params["warmup_ratio"]) * steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = (step - warmup_steps) / max(1, steps - warmup_steps)  # from 0, below 1
        if params["scheduler"] == "constant":
            return 1.0
        return 1.0 - progress if params["scheduler"] == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))

    return factor


@torch.no_grad()
def add_l1(optimizer: torch.optim.Optimizer, strength: float) -> None:
    """Add the gradient of strength * sum |w| over the trainable weights, biases and norms excepted."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.ndim > 1 and parameter.grad is not None:
                parameter.grad.add_(parameter.sign(), alpha=strength)
