"""The hyperparameters of learning-rate schedules: an option without its scheduler in the space is refused."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.spec import StudySpec, parse_spec
from tests.support.specs import document


def parsed(space: dict[str, Any], **changes: Any) -> StudySpec:
    return parse_spec(json.dumps(document({f"space.{name}": d for name, d in space.items()} | changes)))


@pytest.mark.parametrize(
    ("option", "scheduler", "values"),
    [
        ("power", "polynomial", {"low": 0.5, "high": 2}),
        ("num_cycles", "cosine_with_restarts", [2, 4]),
        ("min_lr_rate", "cosine_with_min_lr", 0.2),
    ],
)
def test_an_option_needs_its_scheduler(option: str, scheduler: str, values: Any) -> None:
    for offered in (scheduler, ["linear", scheduler]):
        assert option in parsed({option: values, "scheduler": offered}).space
    for others in ({}, {"scheduler": "cosine"}, {"scheduler": ["linear", "one_cycle"]}):
        with pytest.raises(ValidationError, match=f"changes nothing unless scheduler can be {scheduler}: add") as at:
            parsed({option: values} | others)
        assert [error["loc"] for error in at.value.errors()] == [("space", option)]
    with pytest.raises(
        ValidationError, match=f"unless scheduler can be {scheduler}: add scheduler: {scheduler}, or leave it out"
    ):
        parsed({option: values}, model=["a", "b"], **{"space.freeze_depth": 0.5})


def test_a_warm_up_is_said_once() -> None:
    assert parsed({"warmup_steps": {"low": 0, "high": 500}}).space["warmup_steps"]
    with pytest.raises(ValidationError, match="says the same as warmup_ratio"):
        parsed({"warmup_steps": 50, "warmup_ratio": [0.0, 0.1]})


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("power", 0, "above 0 and at most 100"),
        ("num_cycles", 0, "at least 1 and at most 1000"),
        ("num_cycles", 1.5, "a whole number"),
        ("min_lr_rate", 1.1, "at least 0 and at most 1"),
        ("warmup_steps", -2, "at least -1"),
        ("scheduler", "reduce_lr_on_plateau", "must be one of linear, cosine, constant, constant_with_warmup, poly"),
        ("strategy", "unfreeze", "must be one of full, lora, gradual"),
    ],
)
def test_bounds(name: str, wrong: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        parsed({name: wrong})


def test_trial_0_has_todays_schedule_or_the_shortest_warm_up_of_the_space() -> None:
    plain = parsed({}).space.resolved(6).baseline({})
    assert not {"warmup_steps", "power", "num_cycles", "min_lr_rate"} & set(plain)
    assert (HYPERPARAMETERS["scheduler"].default, HYPERPARAMETERS["strategy"].default) == ("linear", "full")
    space = parsed({"warmup_steps": {"low": 20, "high": 100}, "scheduler": ["one_cycle", "linear"]}).space.resolved(6)
    baseline = space.baseline({})
    assert (baseline["warmup_steps"], baseline["scheduler"]) == (20, "linear")
