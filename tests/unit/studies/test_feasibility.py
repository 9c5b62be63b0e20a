"""Specs that their sampler cannot hold are refused with the field; what is not refused is drawn from."""

import random
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from luthier.studies.protocol import TrialState
from luthier.studies.search import feasibility
from luthier.studies.search.feasibility import FINEST_STEP, search_problems
from luthier.studies.search.search import Search
from tests.support.searches import SAMPLERS
from tests.support.specs import spec


def made(sampler: str, **space: Any) -> Any:
    return spec(sampler={"name": sampler}, space={"epochs": 3, **space})


@pytest.mark.parametrize("sampler", [*SAMPLERS, pytest.param("gp", marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("name", "dimension"),
    [
        ("learning_rate", {"low": 1e-6, "high": 1e-3, "step": 1e-12}),
        ("learning_rate", {"low": 1e-6, "high": 1e-3, "step": 1e-300}),
        ("learning_rate", {"low": 1e-6, "high": 1e-3, "step": 5e-324}),
        ("learning_rate", {"low": 1.0, "high": 1.0000000000000002, "step": 1e-17}),
        ("learning_rate", {"low": 1e-7, "high": 10, "step": 4.5e-9}),
        ("max_grad_norm", {"low": 0, "high": 1e6, "step": 1e-6}),
        ("dropout", {"low": -1, "high": 0.1, "step": 1e-16}),
    ],
)
def test_a_lattice_too_fine_for_floats_names_its_step(sampler: str, name: str, dimension: dict[str, Any]) -> None:
    ((path, text),) = search_problems(made(sampler, **{name: dimension}))
    assert path == ("space", name, "step")
    assert "must be at least" in text


def test_of_several_models_too() -> None:
    space = {"epochs": 3, "freeze_depth": {"low": 0, "high": "auto", "step": 1e-9}}
    ((path, _),) = search_problems(spec(model=["a", "b"], space=space))
    assert path == ("space", "freeze_depth", "step")


def test_long_lists_are_ranges() -> None:
    ((path, text),) = search_problems(made("tpe", batch_size=list(range(1, 1_002))))
    assert path == ("space", "batch_size")
    assert "1000 choices" in text
    assert search_problems(made("tpe", batch_size=list(range(1, 1_001)))) == []


def test_whatever_else_a_sampler_raises_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OverflowError("cannot convert float infinity to integer")

    monkeypatch.setattr(Search, "ask", broken)
    ((path, text),) = search_problems(made("tpe", batch_size=[1, 2]))
    assert path == ("space",)
    assert "the sampler tpe cannot draw" in text
    assert "cannot convert float infinity" in text


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    "space",
    [
        {"learning_rate": {"low": 5e-324, "high": 10, "log": True}},
        {"learning_rate": {"low": 5e-324, "high": 1e-323, "log": True}},
        {"learning_rate": {"low": 1e-3, "high": 1e-3, "log": True}},
        {"learning_rate": {"low": 1e-3, "high": 1e-3, "step": 1e-12}},
        {"learning_rate": {"low": 1e-3, "high": 1.0000000000000002e-3}},
        {"learning_rate": {"low": 1e-6, "high": 1e-3, "step": 1e308}},
        {"learning_rate": {"low": 1e-6, "high": 1e-3, "step": 1e-9}},
        {"max_grad_norm": {"low": 0, "high": 1e6, "step": 1.0}},
        {"batch_size": {"low": 1, "high": 65_536, "log": True}},
        {"batch_size": {"low": 1, "high": 65_536, "step": 2**70}},
        {"freeze_depth": {"low": 20, "high": 48}},
        {"freeze_depth": {"low": 0, "high": "auto"}},
    ],
)
def test_extremes_that_can_be_drawn_from(sampler: str, space: dict[str, Any]) -> None:
    finite = all("log" not in d and ("step" in d or not isinstance(d["low"], float)) for d in space.values())
    if sampler == "grid" and not finite:
        return  # it is no grid
    assert search_problems(made(sampler, **space)) == []


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_not_refused_never_raises(sampler: str) -> None:
    """Lattices at the limit, with random ends and steps of nine digits: thirty trials of each."""
    rng = random.Random(sampler)
    for _ in range(8):
        high = 10 ** rng.uniform(-12, 1)
        low = high * rng.choice([0.0, rng.random(), 1 - 1e-3 * rng.random()])
        step = FINEST_STEP * high * rng.choice([1.0001, rng.uniform(1.0001, 10), rng.uniform(1.0001, 1e5)])
        low, high, step = (float(f"{x:.9g}") for x in (low, high, step))
        s = made(sampler, weight_decay={"low": low, "high": high, "step": step}, batch_size={"low": 1, "high": 64})
        assert search_problems(s) == [], (low, high, step)
        search = Search(InMemoryStorage(), s, s.space.resolved(6))
        for number in range(30):
            if search.ask(number) is None:
                break
            search.tell(number, TrialState.COMPLETE, rng.random(), None)


def test_ends_of_too_many_digits_are_refused() -> None:
    """Optuna computes in decimals: it would take another value for the last one, and refuse ours."""
    lattice = {"low": 9.104018970122519e-09, "high": 9.110265578841778e-09, "step": 5.978095316362057e-14}
    ((path, text),) = search_problems(made("tpe", learning_rate=lattice))
    assert path == ("space", "learning_rate", "step")
    assert "nine digits" in text


def test_a_gaussian_process_is_not_started_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would import torch, and takes seconds."""
    drawn = []
    monkeypatch.setattr(feasibility, "_draw", drawn.append)
    assert search_problems(made("gp", batch_size=[1, 2])) == []
    assert [s.sampler.startup_trials for s in drawn] == [None]
