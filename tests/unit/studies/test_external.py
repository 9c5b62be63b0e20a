"""Specs of external studies: what their space may hold, what is refused with which cure, and how they are searched."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.service.errors import invalid
from luthier.studies.protocol import TrialState
from luthier.studies.schedule import parse_schedule
from luthier.studies.search.feasibility import search_problems
from luthier.studies.search.search import Search
from luthier.studies.search.storage import Storage
from luthier.studies.spec import StudySpec, parse_spec
from tests.support.external import SPACE, document, score, spec
from tests.support.searches import SAMPLERS
from tests.support.specs import MISSING

OTHERS = ("gp", *(name for name in SAMPLERS if name != "tpe"))
RANGE = {"low": 0.0, "high": 1.0}


def faults(**changes: Any) -> dict[str, str]:
    """Return the problems of a spec: path -> sentence."""
    with pytest.raises(ValidationError) as refused:
        spec(**changes)
    return {fault.path: fault.message for fault in invalid(refused.value).errors}


@pytest.mark.parametrize(
    ("changes", "path", "cure"),
    [
        ({"model": "models/tiny"}, "model", "leave it out"),
        ({"dataset": {"source": "x.csv"}}, "dataset", "leave it out"),
        ({"early_stopping": {"patience": 2}}, "early_stopping", "pruner: {name: patient}"),
        ({"confirm": {"seeds": 2}}, "confirm", "enqueue"),
        ({"precision": "float32"}, "precision", "leave it out"),
        ({"augmentation": "mixup"}, "augmentation", "leave it out"),
        ({"resources": {"gpus": 0.5}}, "resources", "leave it out"),
        ({"evaluations_per_epoch": 2}, "evaluations_per_epoch", "give steps"),
        ({"budget": {"trials": 3, "trial_seconds": 9}}, "budget.trial_seconds", "in your trainer"),
        ({"budget": {}}, "budget", "must set trials"),
        ({"objective": MISSING}, "objective.metric", "name the score"),
        ({"objective": {"metric": "mine"}}, "objective.direction", "maximize or minimize"),
        ({"objective": {"metric": "my score", "direction": "maximize"}}, "objective.metric", "without spaces"),
        ({"pruner": {"name": "hyperband"}}, "steps", "steps: 20"),
        ({"pruner": {"name": "median"}, "steps": 1}, "pruner.name", "raise steps"),
        ({"sampler": {"name": "grid"}}, "space.lr", "list them, or give a step"),
        ({"steps": 0}, "steps", "at least 1"),
        ({"space": {}}, "space", "at least one name"),
        ({"space": {f"x{i}": RANGE for i in range(201)}}, "space", "at most 200"),
        ({"space": {"learning rate": RANGE}}, "space.learning rate", "rename it"),
        ({"space": {"lr": RANGE, "LR": RANGE}}, "space.LR", "differs from lr in capital letters"),
        ({"space": {"x": None}}, "space.x", 'write "none"'),
        ({"space": {"x": [[1]]}}, "space.x.0", "a number, true, false or a word"),
        ({"space": {"x": [1, True]}}, "space.x.1", "true is listed twice"),
        ({"space": {"x": []}}, "space.x", "at least one choice"),
        ({"space": {"x": ["a" * 501]}}, "space.x.0", "at most 500"),
        ({"space": {"x": {"low": 3, "high": 1}}}, "space.x.low", "at most high"),
        ({"space": {"x": {"low": 0, "high": 1, "log": True}}}, "space.x.low", "above 0"),
        ({"space": {"x": {"low": 0, "high": "auto"}}}, "space.x.high", "a number"),
        ({"space": {"x": {"low": 0, "hgh": 1}}}, "space.x.hgh", "low, high, log, step"),
        ({"space": {"x": {"low": -1e308, "high": 1e308}}}, "space.x.high", "too far from low"),
    ],
)
def test_what_it_cannot_mean_is_refused_with_path_and_cure(changes: dict[str, Any], path: str, cure: str) -> None:
    assert cure in faults(**changes)[path]


def test_all_faults_are_told_at_once() -> None:
    told = faults(model="m", dataset={"source": "x.csv"}, space={"a b": 1}, seed=-1)
    assert set(told) == {"model", "dataset", "space.a b", "seed"}


def test_other_tasks_need_model_and_data_and_take_no_steps() -> None:
    with pytest.raises(ValidationError) as refused:
        spec(task="text-classification", space={"epochs": 3})
    assert [str(fault) for fault in invalid(refused.value).errors][:2] == ["model: is missing", "dataset: is missing"]
    whole = document(task="text-classification", model="m", dataset={"source": "x"}, space={"epochs": 3}, steps=3)
    with pytest.raises(ValidationError, match=r"external.*evaluations_per_epoch"):
        parse_spec(json.dumps(whole | {"objective": {"metric": "accuracy"}}))


def test_it_is_stored_as_it_was_written_and_has_neither_model_nor_data() -> None:
    written = spec(steps=9)
    stored = json.loads(written.model_dump_json())
    assert not {"model", "dataset"} & set(stored)
    assert stored["space"]["nesterov"] == [True, False]
    read = StudySpec.model_validate_json(json.dumps(stored))
    assert read == written
    assert read.says_the_same(written)
    assert read.models == ()


def test_whole_numbers_stay_whole_and_decimals_decimals() -> None:
    space = spec(
        space={"a": {"low": 0, "high": 4}, "b": {"low": 0, "high": 1, "step": 0.5}, "c": {"low": 0.0, "high": 4}}
    ).space
    assert space.check({"a": 3, "b": 0.5, "c": 3}) == {"a": 3, "b": 0.5, "c": 3.0}
    for wrong in ({"a": 2.5}, {"b": 0.4}, {"c": 5}, {"a": True}, {"a": "2"}, {"d": 1}):
        with pytest.raises(ValidationError):
            space.check(wrong, partial=True)


def test_the_pruner_goes_by_steps_or_needs_none() -> None:
    assert spec(pruner=MISSING, steps=9, budget={"trials": 20}).pruner.name == "hyperband"
    assert spec(pruner=MISSING, budget={"trials": 20}).pruner.name == "median"
    assert spec(pruner=MISSING, steps=1).pruner.name == "none"
    assert search_problems(spec(pruner={"name": "median"}))[0][0] == ("pruner", "name")  # of three trials none can end
    assert not search_problems(spec(pruner={"name": "halving"}, budget={"trials": 20}))


def test_no_schedule_retunes_it() -> None:
    schedule = {"name": "nightly", "cron": "0 3 * * *", "study": {k: v for k, v in document().items() if k != "name"}}
    with pytest.raises(ValidationError) as refused:
        parse_schedule(json.dumps(schedule))
    assert invalid(refused.value).errors[0].path == "study.task"


@pytest.mark.parametrize("sampler", ["tpe", *(pytest.param(name, marks=pytest.mark.full) for name in OTHERS)])
def test_every_sampler_draws_in_the_space_from_its_middle_on(sqlite: Storage, sampler: str) -> None:
    lists = {"lr": [1e-4, 1e-3, 1e-2]} if sampler == "grid" else {}
    written = spec(space={**SPACE, **lists}, sampler={"name": sampler}, budget={"trials": 14})
    search = Search(sqlite, written, written.space)
    asked = []
    for number in range(14):
        params = search.ask(number)
        assert params is not None
        assert written.space.check(params) == params
        assert [type(params[name]) for name in ("depth", "nesterov", "activation")] == [int, bool, str]
        search.tell(number, TrialState.COMPLETE, score(params), None)
        asked.append(params)
    assert (asked[0]["depth"], asked[0]["activation"], asked[0]["layers"]) == (5, "relu", 3)
    assert len({written.space.key(params) for params in asked}) == 14


def test_a_finite_space_is_run_once_each_whatever_its_names_mean_elsewhere(sqlite: Storage) -> None:
    written = spec(space={"strategy": ["full", "lora"], "lora_rank": [4, 8, 16]}, budget={"trials": 30})
    assert written.space.size() == 6
    search = Search(sqlite, written, written.space)
    asked = [search.ask(number) for number in range(6)]
    assert len({tuple(params.values()) for params in asked if params}) == 6
    assert search.ask(6) is None


@pytest.mark.parametrize("pruner", ["hyperband", pytest.param("halving", marks=pytest.mark.full)])
def test_pruners_end_trials_by_the_users_own_steps(sqlite: Storage, pruner: str) -> None:
    """Steps of 100 batches: the worst trial of many is ended before its last step, and no trial at its last one."""
    written = spec(pruner={"name": pruner}, steps=900, budget={"trials": 12})
    search = Search(sqlite, written, written.space)
    ended = {}
    for number in range(12):
        search.ask(number)
        for step in range(100, 901, 100):
            if search.report(number, step, 0.1 if number % 2 else 0.9 + number / 1000):
                ended[number] = step
                break
        state = TrialState.PRUNED if number in ended else TrialState.COMPLETE
        search.tell(number, state, None if number in ended else 0.5, None)
    assert ended
    assert 0 not in ended
    assert max(ended.values()) < 900
