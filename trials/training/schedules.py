"""Learning-rate schedules: the factor on the learning rate as a function of the optimizer step.

`optim` builds a trial's. transformers' `get_scheduler` and torch's `OneCycleLR` are not used: the warm-up of the former
begins with a step at learning rate 0, and both keep a count of steps, while a trial that continues needs a function of
the step. With a warm-up of w > 0 of n steps, the factor at step i is the one that transformers computes at step i + 1
with a warm-up of w + 1 of n + 1 steps; without warm-up, and for `one_cycle`, the factors are equal at each step.
"""

import math
from collections.abc import Callable

from luthier.studies.hyperparameters import Params

Factor = Callable[[int], float]
"""Optimizer step, from 0 -> factor on the learning rate."""

POLYNOMIAL_END = 1e-7
"""The learning rate to which `polynomial` decays, as in transformers and in BERT's own code."""
INVERSE_SQRT_STEPS = 10_000
"""The time scale of `inverse_sqrt` without warm-up, as in transformers."""
ONE_CYCLE_START = 1 / 25
"""The factor at which `one_cycle` starts: 1 / div_factor of torch's OneCycleLR."""
ONE_CYCLE_END = ONE_CYCLE_START / 1e4
"""The factor at which `one_cycle` ends: the first one over final_div_factor."""


def schedule(params: Params, steps: int) -> Factor:
    """Return the factor on the learning rate as a function of the optimizer step: linear warm-up, then the decay.

    Args:
        params: The configuration: `scheduler`, its warm-up, and the options of the scheduler.
        steps: Optimizer steps of the whole trial; the function takes 0 to `steps` - 1.
    """
    warmup_steps = warm_up(params, steps)
    if params["scheduler"] == "one_cycle":
        return lambda step: _one_cycle(step, min(warmup_steps, steps), steps)
    if params["scheduler"] == "inverse_sqrt":
        scale = warmup_steps + 1 if warmup_steps else INVERSE_SQRT_STEPS
        after_warmup: Factor = lambda step: 1.0 / math.sqrt((step - warmup_steps + scale) / scale)  # noqa: E731
    else:
        decay, decay_steps = _decay(params), max(1, steps - warmup_steps)
        after_warmup = lambda step: decay((step - warmup_steps) / decay_steps)  # noqa: E731

    def factor(step: int) -> float:
        return (step + 1) / (warmup_steps + 1) if step < warmup_steps else after_warmup(step)

    return factor


def warm_up(params: Params, steps: int) -> int:
    """Return the number of steps that warm up: `warmup_steps`, or without it the share `warmup_ratio` of `steps`."""
    given = int(params["warmup_steps"])
    return round(float(params["warmup_ratio"]) * steps) if given < 0 else given


def _decay(params: Params) -> Callable[[float], float]:
    """Return the factor as a function of the progress after the warm-up, from 0 to below 1."""
    match params["scheduler"]:
        case "linear":
            return lambda progress: 1.0 - progress
        case "cosine":
            return _cosine
        case "cosine_with_restarts":  # Loshchilov and Hutter 2017, SGDR, with cycles of equal length
            cycles = int(params["num_cycles"])
            return lambda progress: _cosine(cycles * progress % 1.0)
        case "cosine_with_min_lr":
            floor = float(params["min_lr_rate"])
            return lambda progress: _cosine(progress) * (1.0 - floor) + floor
        case "polynomial":
            power = float(params["power"])
            end = min(1.0, POLYNOMIAL_END / float(params["learning_rate"]))
            return lambda progress: float((1.0 - end) * (1.0 - progress) ** power + end)
    return lambda progress: 1.0  # constant, which is transformers' constant_with_warmup


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _one_cycle(step: int, rise: int, steps: int) -> float:
    """Return the factor of one cycle (Smith and Topin 2019): up along a cosine, then down along another.

    Args:
        step: The optimizer step.
        rise: Steps of the way up, the highest included; 0: there is none, as if the highest came before the first step.
        steps: Optimizer steps of the whole trial.
    """
    if step >= rise - 1:
        return _between(1.0, ONE_CYCLE_END, (step - (rise - 1)) / max(1, steps - rise))
    return _between(ONE_CYCLE_START, 1.0, step / (rise - 1))


def _between(start: float, end: float, progress: float) -> float:
    """Return the value between `start` and `end` along half a cosine."""
    return end + (start - end) * _cosine(progress)
