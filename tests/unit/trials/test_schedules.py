"""Learning-rate schedules: at each step those of transformers and of torch, and a function of the step alone."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR
from transformers import get_scheduler

from luthier.studies.hyperparameters import HYPERPARAMETERS, Params, complete
from luthier.trials.training.schedules import schedule

RATE = 3e-4
CASES: list[tuple[Params, dict[str, Any]]] = [
    ({"scheduler": "linear"}, {}),
    ({"scheduler": "cosine"}, {}),
    ({"scheduler": "constant_with_warmup"}, {}),
    ({"scheduler": "inverse_sqrt"}, {}),
    ({"scheduler": "polynomial"}, {}),
    ({"scheduler": "polynomial", "power": 2.5}, {"power": 2.5}),
    ({"scheduler": "cosine_with_restarts"}, {}),
    ({"scheduler": "cosine_with_restarts", "num_cycles": 3}, {"num_cycles": 3}),
    ({"scheduler": "cosine_with_min_lr"}, {"min_lr_rate": 0.1}),
    ({"scheduler": "cosine_with_min_lr", "min_lr_rate": 0.25}, {"min_lr_rate": 0.25}),
]


def configuration(**params: Any) -> Params:
    return complete({"learning_rate": RATE, **params})


def rates(scheduler: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    """Return the learning rate at each step, as a training loop would have it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    stepper = scheduler(optimizer)
    found = [optimizer.param_groups[0]["lr"]]
    while len(found) < steps:
        optimizer.step()
        stepper.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("warmup", [0, 1, 7, 39])
@pytest.mark.parametrize(("params", "options"), CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_a_schedule_is_the_one_of_transformers(params: Params, options: dict[str, Any], warmup: int) -> None:
    """Without warm-up at the same steps; else ours is its next step, so that no step has the rate 0."""
    steps = 40
    shift = 1 if warmup else 0

    def reference(optimizer: torch.optim.Optimizer) -> Any:
        name = str(params["scheduler"])
        return get_scheduler(name, optimizer, warmup + shift, steps + shift, scheduler_specific_kwargs=options)

    factor = schedule(configuration(**params, warmup_steps=warmup), steps)
    ours, theirs = [RATE * factor(step) for step in range(steps)], rates(reference, steps + shift)[shift:]
    assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-12 * RATE)
    assert all(0 < rate <= RATE for rate in ours)


@pytest.mark.parametrize(("steps", "rise"), [(40, 0), (40, 2), (40, 4), (40, 12), (40, 40), (2, 2)])
def test_one_cycle_is_the_one_of_torch(steps: int, rise: int) -> None:
    factor = schedule(configuration(scheduler="one_cycle", warmup_ratio=rise / steps), steps)
    ours = [RATE * factor(step) for step in range(steps)]

    def reference(optimizer: torch.optim.Optimizer) -> Any:
        return OneCycleLR(optimizer, RATE, steps, pct_start=rise / steps, cycle_momentum=False)

    assert ours == pytest.approx(rates(reference, steps), rel=1e-12, abs=1e-12 * RATE)
    assert ours[-1] == pytest.approx(RATE * (1.0 if rise == steps else 4e-6))


def test_one_cycle_takes_any_warm_up() -> None:
    """Of one step, where torch divides by zero, of one step in all, and of more steps than the trial has."""
    peak = schedule(configuration(scheduler="one_cycle", warmup_steps=1), 10)
    assert (peak(0), peak(9)) == (1.0, pytest.approx(4e-6))
    assert schedule(configuration(scheduler="one_cycle", warmup_steps=1), 1)(0) == 1.0
    assert schedule(configuration(scheduler="one_cycle", warmup_steps=90), 10)(9) == 1.0


@pytest.mark.parametrize("scheduler", HYPERPARAMETERS["scheduler"].choices)
def test_a_schedule_is_a_function_of_the_step(scheduler: str) -> None:
    params = configuration(scheduler=scheduler, num_cycles=2, warmup_ratio=0.2)
    factor, again = schedule(params, 20), schedule(params, 20)
    assert [factor(step) for step in range(20)] == [again(step) for step in reversed(range(20))][::-1]
    assert all(math.isfinite(factor(step)) and 0 < factor(step) <= 1 for step in range(20))


def test_warm_up_is_a_share_of_the_steps_or_a_number_of_them() -> None:
    share, steps = (schedule(configuration(**params), 50) for params in ({"warmup_ratio": 0.2}, {"warmup_steps": 10}))
    assert [share(step) for step in range(50)] == [steps(step) for step in range(50)]
    none = schedule(configuration(warmup_steps=0, warmup_ratio=0.5), 50)
    assert none(0) == 1.0
    long = schedule(configuration(warmup_steps=100), 50)
    assert long(49) == pytest.approx(50 / 101)


def test_polynomial_stays_at_rates_below_its_end() -> None:
    factor = schedule(complete({"learning_rate": 1e-8, "scheduler": "polynomial", "warmup_steps": 0}), 10)
    assert [factor(step) for step in range(10)] == [1.0] * 10
