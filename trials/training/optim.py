"""A configuration's optimizer and penalties.

Set-up and the training loop call it; `schedules` has the learning rate's schedules.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from luthier.studies.hyperparameters import Params
from luthier.trials.model.backbone import Backbone
from luthier.trials.training.schedules import Factor, schedule
from luthier.trials.training.unfreezing import GRADUAL

SGD_MOMENTUM = 0.9
MAGNITUDE = ".lora_magnitude_vector."  # in the names of DoRA's magnitudes, one for each output of a layer
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
    factor: Factor


def build(model: nn.Module, backbone: Backbone, params: Params, steps: int) -> Optimization:
    """Return the optimizer and the learning-rate schedule of a configuration.

    Args:
        model: Frozen to the configuration's depth; the optimizer changes its trainable parameters.
        backbone: The model's, with the layers of its adapters where it has some.
        params: The configuration.
        steps: Optimizer steps of the whole trial.
    """
    later = backbone.frozen(backbone.depth) if params["strategy"] == GRADUAL else frozenset()
    groups = parameter_groups(model, backbone.layers, len(backbone.blocks) + 1, params, later)
    return Optimization(make_optimizer(groups, params), schedule(params, steps))


def parameter_groups(
    model: nn.Module, layers: Mapping[str, int], top: int, params: Params, later: Set[str] = frozenset()
) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups by layer and by whether weight decay applies to them.

    The head's layer has the factor 1 on the learning rate, the block below it layer_decay, the next one its square, and
    so on (ELECTRA, Clark et al. 2020, appendix B). Vectors (biases and norms) get no weight decay.

    Args:
        model: Frozen to the configuration's depth.
        layers: Parameter name -> layer.
        top: The head's layer.
        params: The configuration.
        later: Names of the parameters that are not trained from the first step on. They are in groups of their own:
            torch's fused SGD takes no group of which a part has been stepped.

    Returns:
        Groups for a torch optimizer, each with its factor on the learning rate as `scale`, and with `decays`.
    """
    groups: dict[tuple[int, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_vector = parameter.ndim <= 1 or MAGNITUDE in name  # a convolution's has the shape (1, outputs, 1, 1)
            groups.setdefault((layers[name], not is_vector, name in later), []).append(parameter)
    layer_decay = float(params["layer_decay"])
    weight_decay = float(params["weight_decay"])
    return [
        {
            "params": members,
            "scale": layer_decay ** (top - layer),
            "weight_decay": weight_decay if decays else 0.0,
            "decays": decays,
        }
        for (layer, decays, _), members in groups.items()
    ]


def make_optimizer(groups: list[dict[str, Any]], params: Params) -> torch.optim.Optimizer:
    """Return the configuration's optimizer over `groups`; a step is one fused kernel."""
    rate = float(params["learning_rate"])
    name = params["optimizer"]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=SGD_MOMENTUM, fused=True)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, fused=True)


@torch.no_grad()
def add_l1(optimizer: torch.optim.Optimizer, strength: float) -> None:
    """Add the gradient of strength * sum |w| over the trainable weights, biases and norms excepted."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if group["decays"] and parameter.grad is not None:
                parameter.grad.add_(parameter.sign(), alpha=strength)
