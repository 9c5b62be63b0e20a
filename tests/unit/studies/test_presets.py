"""Presets: what they stand for is written out, valid for every task, and kept."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.studies.preset_remarks import preset_remarks
from luthier.studies.presets import PRESETS
from luthier.studies.schedule import parse_schedule
from luthier.studies.spec import StudySpec, parse_spec
from luthier.studies.tasks import TASKS

OWN = "The spec's own {} holds, whole, and not that of preset quick."


def spec(**changes: Any) -> StudySpec:
    document = {"name": "a", "task": "text-classification", "model": "m", "dataset": {"source": "d.csv"}} | changes
    return parse_spec(json.dumps(document))


@pytest.mark.parametrize("model", ["m", ["m", "n"]], ids=["one model", "two models"])
@pytest.mark.parametrize("task", TASKS)
def test_each_is_a_valid_spec_of_each_task(task: str, model: Any) -> None:
    trials = []
    for name in PRESETS:
        made = spec(task=task, model=model, preset=name)
        rate = made.space["learning_rate"]
        assert rate.low < TASKS[task].baseline["learning_rate"] < rate.high  # type: ignore[operator,union-attr]
        trials.append(made.budget.trials)
    assert trials == sorted(set(trials))


def test_what_it_stood_for_is_stored_and_read_again_as_it_was() -> None:
    made = spec(preset="best")
    stored = made.model_dump(mode="json")
    assert stored["preset"] == "best"
    stored["space"]["learning_rate"] = {"low": 1e-6, "high": 1e-5, "log": True}  # an older version's
    again = StudySpec.model_validate(stored)
    assert again.space["learning_rate"].high == 1e-5  # type: ignore[union-attr]
    assert again.confirm == made.confirm is not None


def test_a_key_that_is_written_stays_as_it_is() -> None:
    made = spec(preset="quick", budget={"trials": 3}, space={"learning_rate": 1e-4})
    assert made.budget.trials == 3
    assert list(made.space) == ["learning_rate"]


def test_no_repetitions_are_asked_for_beside_the_best_preset() -> None:
    assert spec(preset="best", confirm=None).confirm is None
    assert spec(preset="best", budget=None, space=None).budget.trials == 80
    assert "confirm" in preset_remarks(spec(preset="best", confirm=None))[0]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({}, []),
        ({"budget": {"trials": 8}, "model": ["m", "n"]}, []),
        (
            {"space": {"learning_rate": 1e-4, "batch_size": [16]}},
            [f"{OWN.format('space')} The search leaves out epochs, freeze_depth."],
        ),
        (
            {"budget": {"gpu_seconds": 60}},
            [f"{OWN.format('budget')} The preset's 8 trials are no limit."],
        ),
        ({"budget": {"trials": 9}}, [OWN.format("budget")]),
    ],
)
def test_a_plan_says_what_holds_in_place_of_the_presets(written: dict[str, Any], told: list[str]) -> None:
    parsed = spec(preset="quick", **written)
    assert preset_remarks(parsed) == told
    assert preset_remarks(StudySpec.model_validate(parsed.model_dump(mode="json"))) == told, "as it is stored"


def test_without_one_a_spec_is_written_as_before() -> None:
    assert "preset" not in spec(space={"learning_rate": 1e-4}).model_dump(mode="json")


@pytest.mark.parametrize(("wrong", "path"), [({"preset": "nice"}, "preset"), ({}, "space")])
def test_a_wrong_one_and_none_are_refused_with_one_problem(wrong: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as told:
        spec(**wrong)
    assert [error["loc"] for error in told.value.errors()] == [(path,)]


def test_a_schedule_takes_one() -> None:
    study = {"task": "text-classification", "model": "m", "dataset": {"source": "d.csv"}, "preset": "quick"}
    made = parse_schedule(json.dumps({"name": "nightly", "cron": "@daily", "study": study}))
    assert made.study.budget.trials == 8


def test_the_schema_asks_for_a_space_or_a_preset() -> None:
    schema = StudySpec.model_json_schema()
    assert "space" not in schema["required"]
    assert schema["anyOf"] == [{"required": ["space"]}, {"required": ["preset"]}]
