"""Reports, and which trials they end early."""

from typing import Any

import pytest

from luthier.studies.protocol import TrialState
from luthier.studies.search.storage import Storage
from tests.support.searches import FIVE_EPOCHS, start, train
from tests.support.specs import SPACE
from tests.support.tiers import a_few

PRUNERS: list[dict[str, Any]] = [
    {"name": "median"},
    {"name": "median", "startup_trials": 2, "warmup_steps": 2},
    {"name": "percentile", "percentile": 50.0},
    {"name": "hyperband"},
    {"name": "halving", "reduction_factor": 2},
    {"name": "patient", "patience": 1},
]


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda p: "-".join(map(str, p.values())))
def test_a_pruner_ends_the_hopeless_and_keeps_the_good(sqlite: Storage, pruner: dict[str, Any]) -> None:
    search = start(sqlite, space=FIVE_EPOCHS, pruner=pruner, sampler={"name": "random"})
    for number in range(8):
        train(search, number, [0.50 + 0.01 * number + 0.02 * step for step in range(5)])
    hopeless, good = [0.20, 0.18, 0.16, 0.14, 0.12], [0.70, 0.75, 0.80, 0.85, 0.90]
    assert train(search, 8, hopeless) is not None
    assert train(search, 9, good) is None


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda p: "-".join(map(str, p.values())))
def test_neither_the_baseline_nor_a_trial_at_its_last_evaluation_is_pruned(
    sqlite: Storage, pruner: dict[str, Any]
) -> None:
    search = start(sqlite, space=FIVE_EPOCHS, pruner=pruner, sampler={"name": "random"})
    for number in range(9):
        search.ask(number)
    for number in range(1, 9):
        for step in range(1, 6):
            search.report(number, step, 0.6 + 0.01 * number)
        search.tell(number, TrialState.COMPLETE, 0.6 + 0.01 * number, None)
    assert [search.report(0, step, 0.1) for step in range(1, 6)] == [False] * 5, "the baseline, far behind"
    search.ask(9)
    assert not any(search.report(9, step, 0.9) for step in range(1, 5))
    assert search.report(9, 5, 0.2) is False, "its best model may win"


@pytest.mark.parametrize("pruner", a_few(3, PRUNERS), ids=lambda p: "-".join(map(str, p.values())))
def test_a_score_that_is_asked_for_again_is_not_pruned(sqlite: Storage, pruner: dict[str, Any]) -> None:
    search = start(sqlite, space=FIVE_EPOCHS, pruner=pruner, sampler={"name": "random"})
    for number in range(9):
        train(search, number, [0.50 + 0.01 * number + 0.02 * step for step in range(5)])
    search.enqueue(9, search.ask(8), seed=7)
    assert [search.report(9, step, 0.22 - 0.02 * step) for step in range(1, 6)] == [False] * 5


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
@pytest.mark.parametrize(("patience", "step"), a_few(1, [(1, 3), (0, 2), (2, 4)]))
@pytest.mark.parametrize("level", [0.2, 0.5])
def test_a_patient_pruner_ends_a_trial_that_stands_exactly_still(
    sqlite: Storage, metric: str, patience: int, step: int, level: float
) -> None:
    """Also one that stands where the median is: of equals the earlier trial wins."""
    sign = -1.0 if metric == "loss" else 1.0
    pruner = {"name": "patient", "patience": patience, "startup_trials": 2}
    search = start(sqlite, space=FIVE_EPOCHS, pruner=pruner, semantics=2, objective={"metric": metric})
    train(search, 0, [sign * 0.5] * 5)
    train(search, 1, [sign * value for value in (0.5, 0.6, 0.7, 0.8, 0.9)])
    train(search, 2, [sign * value for value in (0.1, 0.2, 0.3, 0.4, 0.5)])
    assert train(search, 3, [sign * level] * 5) == step
    assert train(search, 4, [sign * 0.95] * 5) is None, "it leads: it may win"
    assert train(search, 5, [sign * value for value in (0.1, 0.11, 0.12, 0.13, 0.14)]) is None, "it gets better"


def test_a_patient_pruner_counts_from_the_last_best_score(sqlite: Storage) -> None:
    pruner = {"name": "patient", "patience": 1, "startup_trials": 1}
    search = start(sqlite, space=SPACE | {"epochs": 9}, pruner=pruner, semantics=2)
    train(search, 0, [0.9] * 9)
    assert train(search, 1, [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3]) == 7


def test_a_decision_on_a_standstill_is_made_again_by_a_service_that_has_only_the_scores(sqlite: Storage) -> None:
    pruner = {"name": "patient", "patience": 1, "startup_trials": 1}
    spec = {"space": FIVE_EPOCHS, "pruner": pruner, "semantics": 2}
    search = start(sqlite, **spec)
    train(search, 0, [0.9] * 5)
    search.ask(1)
    assert not any(search.report(1, step, 0.3) for step in (1, 2))
    again = start(sqlite, **spec)  # after a kill: nothing but the database is left
    assert again.report(1, 3, 0.3) is True
    assert start(sqlite, **spec).report(1, 3, 0.3) is True


def test_a_study_of_older_semantics_keeps_taking_equal_scores_for_progress(sqlite: Storage) -> None:
    pruner = {"name": "patient", "patience": 1, "startup_trials": 1}
    search = start(sqlite, space=FIVE_EPOCHS, pruner=pruner)
    train(search, 0, [0.9] * 5)
    assert train(search, 1, [0.1] * 5) is None
    assert train(search, 2, [0.3, 0.2, 0.1, 0.1, 0.1]) == 3


def test_a_decision_to_prune_outlives_the_worker_that_did_not_hear_it(sqlite: Storage) -> None:
    search = start(sqlite, space=FIVE_EPOCHS, pruner={"name": "median", "startup_trials": 1})
    train(search, 0, [0.5] * 5)
    search.ask(1)
    assert search.report(1, 1, 0.1) is True
    assert search.report(1, 2, 0.9) is True  # another worker went on from the first evaluation


def test_pruning_follows_the_direction(sqlite: Storage) -> None:
    search = start(sqlite, space=FIVE_EPOCHS, objective={"metric": "loss"}, pruner={"name": "median"})
    for number in range(6):
        train(search, number, [0.5] * 5)
    assert train(search, 6, [0.9] * 5) == 1
    assert train(search, 7, [0.1] * 5) is None


def test_warm_up_steps_are_never_pruned(sqlite: Storage) -> None:
    search = start(sqlite, space=FIVE_EPOCHS, pruner={"name": "median", "startup_trials": 1, "warmup_steps": 2})
    train(search, 0, [0.5] * 5)
    assert train(search, 1, [0.1] * 5) == 3


def test_without_a_pruner_nothing_is_pruned(sqlite: Storage) -> None:
    search = start(sqlite, space=FIVE_EPOCHS, pruner={"name": "none"})
    assert all(train(search, number, [0.5 - 0.05 * number] * 5) is None for number in range(8))


@pytest.mark.parametrize("pruner", ["hyperband", "halving"])
def test_a_decision_on_a_rung_is_repeated_too(sqlite: Storage, pruner: str) -> None:
    search = start(sqlite, space=FIVE_EPOCHS, pruner={"name": pruner})
    decisions = {}
    for number in range(12):
        search.ask(number)
        decisions[number] = search.report(number, 1, 0.9 - 0.05 * number)
    assert True in decisions.values()
    assert False in decisions.values()
    assert {number: search.report(number, 1, 0.5) for number in decisions} == decisions


def test_an_unknown_trial_is_a_lookup_error(sqlite: Storage) -> None:
    for pruner in ("none", "median", "hyperband"):
        search = start(sqlite, name=pruner, pruner={"name": pruner})
        with pytest.raises(LookupError, match=f"study {pruner} has no trial 0"):
            search.report(0, 1, 0.5)
        with pytest.raises(LookupError, match="has no trial 0"):
            search.tell(0, TrialState.COMPLETE, 0.5, None)


def test_a_trial_that_has_not_ended_cannot_be_told(sqlite: Storage) -> None:
    search = start(sqlite)
    search.ask(0)
    with pytest.raises(ValueError, match="cannot be told as running"):
        search.tell(0, TrialState.RUNNING, None, None)
