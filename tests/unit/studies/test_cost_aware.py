"""Draws that weigh seconds: when they do, what they depend on, and that they begin with cheap trials."""

import json
import math
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial
from pydantic import ValidationError

from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Reason, TrialState
from luthier.studies.search.cost_aware import SECONDS, left, price_of
from luthier.studies.search.restoring import KnownTrial
from luthier.studies.search.search import Search
from luthier.studies.search.storage import Storage
from luthier.studies.spec import StudySpec, parse_spec
from luthier.studies.trial_costs import weighs_seconds
from tests.support.external import document as external_document
from tests.support.searches import GRID, Open, distinct, run, start, trials
from tests.support.specs import SPACE, document, spec
from tests.support.tiers import a_few

AUTO = {"cost_aware": "auto"}
AWARE = {"sampler": {"cost_aware": True}, "budget": {"gpu_seconds": 400.0}}


def seconds(params: Params) -> float:
    return 0.5 + float(params["epochs"]) * (0.2 + 2.0 * (1 - float(params.get("freeze_depth", 0)) / 6))


def score(params: Params) -> float:
    return 0.9 - 0.1 * (math.log10(float(params["learning_rate"])) + 4) ** 2 + 0.01 * float(params["epochs"])


def search_on(search: Search, numbers: range, factor: float = 1.0) -> list[Params]:
    """Ask for trials, one after another, and tell their ends with their seconds."""
    asked = []
    for number in numbers:
        params = search.ask(number)
        assert params is not None
        asked.append(params)
        search.report(number, int(params["epochs"]), score(params))
        search.tell(number, TrialState.COMPLETE, score(params), None, seconds(params) * factor)
    return asked


def newest(**changes: Any) -> StudySpec:
    return parse_spec(json.dumps(document() | changes))


@pytest.mark.parametrize(
    ("changes", "weighs"),
    [
        ({"budget": {"gpu_seconds": 60.0}}, False),
        ({"budget": {"gpu_seconds": 60.0}, "sampler": AUTO}, True),
        ({"budget": {"wall_clock_seconds": 60.0}, "sampler": AUTO}, True),
        ({"budget": {"trials": 30}, "sampler": AUTO}, False),
        ({"budget": {"trials": 30, "gpu_seconds": 60.0}, "sampler": AUTO}, False),
        ({"budget": {"gpu_seconds": 60.0}, "sampler": {"name": "qmc", **AUTO}}, False),
        ({"budget": {"trials": 30}, "sampler": {"cost_aware": True}}, True),
        (
            {"budget": {"gpu_seconds": 60.0}, "space": {"learning_rate": [1e-4, 1e-3], "epochs": 2}, "sampler": AUTO},
            False,
        ),
    ],
)
def test_auto_is_on_where_the_budget_is_time_and_the_sampler_can(changes: dict[str, Any], weighs: bool) -> None:
    assert weighs_seconds(newest(**changes)) is weighs


def test_an_external_study_never_does() -> None:
    budget = {"budget": {"gpu_seconds": 60.0}}
    assert not weighs_seconds(parse_spec(json.dumps(external_document() | budget)))
    with pytest.raises(ValidationError, match=r"sampler\.cost_aware\s+is for trials that Luthier trains itself"):
        parse_spec(json.dumps(external_document() | budget | {"sampler": {"cost_aware": True}}))


@pytest.mark.parametrize("sampler", ["gp", "cmaes", "qmc", "random", "grid"])
def test_a_sampler_that_cannot_is_refused_with_its_path_and_the_cure(sampler: str) -> None:
    with pytest.raises(ValidationError, match=r"sampler\.cost_aware\s+needs the sampler tpe: .* take name: tpe"):
        spec(space=GRID, sampler={"name": sampler, "cost_aware": True})


def test_a_space_in_which_all_trials_take_the_same_time_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"sampler\.cost_aware\s+changes nothing: .* search one of freeze_depth"):
        spec(space={"learning_rate": [1e-4, 1e-3], "epochs": 2}, sampler={"cost_aware": True})
    assert weighs_seconds(spec(model=["a", "b"], space={"epochs": 2}, sampler={"cost_aware": True}))


def test_a_spec_that_does_not_say_it_is_written_as_before() -> None:
    assert "cost_aware" not in spec().model_dump(mode="json")["sampler"]
    assert spec(sampler=AUTO).model_dump(mode="json")["sampler"]["cost_aware"] == "auto"


@pytest.mark.parametrize("seed", a_few(1, [0, 1, 2]))
def test_the_first_trials_are_cheap_and_different(sqlite: Storage, seed: int) -> None:
    first = search_on(start(sqlite, **AWARE, seed=seed), range(4))[1:]
    usual = [seconds({"epochs": e, "freeze_depth": d}) for e in range(1, 6) for d in range(7)]
    assert sum(map(seconds, first)) / 3 < np.mean(usual) / 2
    rates = [math.log10(float(params["learning_rate"])) for params in first]
    assert max(rates) - min(rates) > 0.5
    assert len(distinct([*first])) == 3


@pytest.mark.full
def test_a_draw_depends_on_the_trials_before_it_their_seconds_too(
    sqlite: Storage, sqlite_url: str, open_again: Open
) -> None:
    asked = search_on(start(sqlite, **AWARE), range(13))
    reopened = start(open_again(sqlite_url), **AWARE)
    twins = [start(sqlite, **AWARE, name=f"twin-{factor}") for factor in (1, 20)]
    same, dearer = search_on(twins[0], range(13)), search_on(twins[1], range(13), factor=20.0)
    assert same == asked
    assert dearer != asked, "more of the budget is spent, so that seconds weigh less"
    lost = reopened.ask(13)
    assert twins[0].ask(13) == lost == reopened.ask(13)
    assert reopened.unfinished() == [13]


def test_draws_without_it_are_those_of_older_versions_and_store_nothing_more(sqlite: Storage) -> None:
    plain = [start(sqlite, budget={"gpu_seconds": 400.0}, name="plain"), start(sqlite, name="of-trials")]
    assert search_on(plain[0], range(12)) == search_on(plain[1], range(12), factor=3.0)
    stored = sqlite.get_all_trials(sqlite.get_study_id_from_name("plain"))
    assert all(SECONDS not in trial.system_attrs for trial in stored)


def test_what_is_left_of_a_budget_is_counted_by_the_seconds_of_trials() -> None:
    ended = [create_trial(value=0.5, system_attrs={SECONDS: 10.0}) for _ in range(3)]
    running = create_trial(state=OptunaState.RUNNING)
    assert left(spec(budget={"gpu_seconds": 120.0}), ended) == pytest.approx(0.75)
    assert left(spec(budget={"gpu_seconds": 60.0}, resources={"gpus": 0.5}), ended) == pytest.approx(0.75)
    time = spec(budget={"wall_clock_seconds": 60.0}, parallel=4)
    assert left(time, ended) == pytest.approx(0.5)
    assert left(time, [*ended, running]) == pytest.approx(0.75), "two at a time"
    assert left(spec(budget={"trials": 12, "gpu_seconds": 40.0}), ended) == pytest.approx(0.25), "the nearest limit"
    assert left(spec(budget={"gpu_seconds": 5.0}), ended) == 0.0


def test_seconds_come_back_with_restored_trials(sqlite: Storage) -> None:
    search = start(sqlite, **AWARE)
    params = search.spec.space.resolved(6).baseline(search.spec.task_info.baseline)
    known = KnownTrial(0, params, TrialState.COMPLETE, 0.5, None, {3: 0.5}, 0.0, 7.0, seconds=7.0)
    second = KnownTrial(1, params | {"epochs": 1}, TrialState.FAILED, None, Reason.OOM, {}, 7.0, 9.0)
    search.restore([known, second], lambda: None)
    assert [trial.system_attrs.get(SECONDS) for trial in trials(sqlite)] == [7.0, None]
    price = price_of(search.spec, search.spec.space.resolved(6), None, trials(sqlite))
    assert price is not None
    assert math.exp(price.log_seconds(params)) == pytest.approx(7.0, rel=0.01)
    assert search.ask(2) is not None


@pytest.mark.full
def test_every_configuration_of_a_finite_space_runs_once(sqlite: Storage) -> None:
    search = start(sqlite, space=GRID, sampler={"cost_aware": True}, objective={"metric": "loss"})
    assert len(distinct(run(search, range(24), lambda params: float(params["epochs"])))) == 24
    assert search.ask(24) is None


@pytest.mark.full
def test_trials_that_run_diverge_or_are_pruned_are_learned_from(sqlite: Storage) -> None:
    search = start(sqlite, **AWARE, space={**SPACE, "optimizer": ["adamw", "sgd"], "dropout": [0.0, 0.1]})
    search_on(search, range(4))
    for number in range(4, 16):
        params = search.ask(number)
        assert params is not None
        if number % 4 == 0:
            search.tell(number, TrialState.PRUNED, None, Reason.DIVERGED, 1.0)
        elif number % 4 == 1:
            search.report(number, 1, 0.4)
            search.tell(number, TrialState.PRUNED, None, None, 2.0)
    assert len(search.unfinished()) == 6
