"""A study's trials in both databases: asked, adopted, reported, told and deleted."""

import math
from contextlib import nullcontext

import optuna
import pytest

from luthier.studies.protocol import Reason, TrialState
from luthier.studies.search.search import delete_search
from luthier.studies.search.storage import Storage, engine_of, init_storage
from luthier.studies.search.study_trials import Contradicted
from tests.support.searches import FIVE_EPOCHS, Open, run, start, train, trials
from tests.support.specs import SPACE, spec

pytestmark = pytest.mark.locks


def test_the_baseline_comes_first(storage: Storage) -> None:
    search = start(storage, space={**SPACE, "optimizer": "sgd", "dropout": [0.0, 0.1]})
    assert search.ask(0) == {
        "learning_rate": 5e-5,
        "batch_size": 32,
        "epochs": 3,
        "weight_decay": 0.01,
        "freeze_depth": 0,
        "optimizer": "sgd",
        "dropout": 0.0,  # the default, -1, is not offered; this is the nearest
    }


def test_exhaustion_counts_failed_and_running_trials(storage: Storage) -> None:
    search = start(storage, space={"epochs": 2, "batch_size": [8, 16, 32]}, sampler={"name": "grid"})
    search.tell(0, TrialState.FAILED, None, Reason.ERROR) if search.ask(0) else None
    search.ask(1)
    search.ask(2)
    assert search.ask(3) is None
    assert search.unfinished() == [1, 2]
    assert search.count() == 3


def test_both_databases_give_back_exactly_what_was_asked(storage: Storage, database_url: str, open_again: Open) -> None:
    asked = run(start(storage), range(5))
    reopened = start(open_again(database_url))
    assert [reopened.ask(number) for number in range(5)] == asked
    assert [reopened.find(params) for params in asked if params] == [0, 1, 2, 3, 4]


def test_a_trial_left_by_a_crash_is_adopted_not_repeated(storage: Storage, database_url: str, open_again: Open) -> None:
    search = start(storage)
    run(search, range(3))
    lost = search.ask(3)  # the process dies before it writes a row of its own
    search = start(open_again(database_url))
    assert search.ask(3) == lost
    assert search.count() == 4
    assert search.unfinished() == [3]
    search.tell(3, TrialState.COMPLETE, 0.5, None)
    assert search.ask(3) == lost
    assert search.count() == 4


def test_a_users_configuration_runs_as_it_is_and_is_found_again(storage: Storage) -> None:
    search = start(storage)
    search.ask(0)
    own = spec().space.check(
        {"learning_rate": 3e-4, "batch_size": 8, "epochs": 2, "weight_decay": 0.1, "freeze_depth": 1}
    )
    assert search.find(own) is None
    search.enqueue(1, own)
    search.enqueue(1, own)  # after a crash the service does so again
    assert search.find(own) == 1
    assert search.ask(1) == own
    assert search.count() == 2
    with pytest.raises(ValueError, match="trial 0 exists already, with another configuration"):
        search.enqueue(0, own)


def test_a_repeated_report_is_ignored_and_gets_the_same_decision(
    storage: Storage, database_url: str, open_again: Open
) -> None:
    search = start(storage, space=FIVE_EPOCHS, pruner={"name": "median", "startup_trials": 1})
    train(search, 0, [0.5] * 5)
    search.ask(1)
    assert search.report(1, 1, 0.6) is False
    assert search.report(1, 1, 0.0) is False  # the value of a repeat does not count
    assert search.report(1, 2, 0.1) is False  # its best is 0.6 still
    search.ask(2)
    assert search.report(2, 1, 0.1) is True
    assert search.report(2, 1, 0.9) is True
    search.tell(2, TrialState.PRUNED, None, None)
    for again in (
        search,
        start(open_again(database_url), space=FIVE_EPOCHS, pruner={"name": "median", "startup_trials": 1}),
    ):
        assert again.report(2, 1, 0.1) is True  # also once it has ended
        assert again.report(2, 2, 0.1) is True
        assert again.report(1, 1, 0.6) is False


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(storage: Storage, value: float) -> None:
    search = start(storage)
    search.ask(0)
    with pytest.raises(ValueError, match="only finite scores are stored"):
        search.report(0, 1, value)
    with pytest.raises(ValueError, match="needs a finite value"):
        search.tell(0, TrialState.COMPLETE, value, None)
    search.tell(0, TrialState.COMPLETE, 0.5, None)
    assert search.ask(1) is not None


def test_telling_twice_keeps_the_first_end(storage: Storage) -> None:
    search = start(storage)
    search.ask(0)
    search.tell(0, TrialState.COMPLETE, 0.5, None)
    with pytest.raises(Contradicted):
        search.tell(0, TrialState.FAILED, None, Reason.OOM)
    search.tell(0, TrialState.COMPLETE, 0.9, None)
    (trial,) = trials(storage)
    assert (trial.state, trial.value) == (optuna.trial.TrialState.COMPLETE, 0.5)
    assert trial.constraints == {}


@pytest.mark.parametrize(
    ("state", "reason", "told", "constraints"),
    [
        (TrialState.PRUNED, None, "PRUNED", {}),
        (TrialState.PRUNED, Reason.DIVERGED, "PRUNED", {"diverged": 1.0}),
        (TrialState.FAILED, Reason.OOM, "PRUNED", {"oom": 1.0}),
        (TrialState.FAILED, Reason.ERROR, "FAIL", {}),
        (TrialState.FAILED, Reason.TIMEOUT, "FAIL", {}),
        (TrialState.CANCELLED, None, "FAIL", {}),
    ],
)
def test_how_an_end_is_told(
    storage: Storage, state: TrialState, reason: Reason | None, told: str, constraints: dict[str, float]
) -> None:
    search = start(storage)
    search.ask(0)
    search.report(0, 1, 0.25)
    search.tell(0, state, None, reason)
    (trial,) = trials(storage)
    assert (trial.state.name, trial.constraints) == (told, constraints)
    assert trial.value == (0.25 if told == "PRUNED" else None)
    assert search.unfinished() == []


def test_a_deleted_study_is_gone(storage: Storage) -> None:
    search = start(storage)
    search.ask(0)
    for _ in range(2):
        delete_search(storage, search.spec.name, nullcontext)
    assert start(storage).count() == 0


def test_initialising_twice_keeps_what_is_there(empty_url: str, open_again: Open) -> None:
    init_storage(empty_url)
    start(open_again(empty_url)).ask(0)
    init_storage(empty_url)
    assert start(open_again(empty_url)).count() == 1


def test_tables_that_another_optuna_made_are_brought_up_to_date(empty_url: str, open_again: Open) -> None:
    init_storage(empty_url)
    engine = engine_of(open_again(empty_url))
    current = "SELECT version_num FROM alembic_version"
    with engine.begin() as connection:
        newest = connection.exec_driver_sql(current).scalar()
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
        connection.exec_driver_sql("UPDATE version_info SET library_version = '3.0.0'")
    init_storage(empty_url)
    with engine.begin() as connection:
        assert connection.exec_driver_sql(current).scalar() == newest != "v3.0.0.d"
        assert connection.exec_driver_sql("SELECT library_version FROM version_info").scalar() != "3.0.0"


def test_sqlite_waits_for_other_writers(sqlite: Storage) -> None:
    with engine_of(sqlite).connect() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
        assert pragma == {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 60_000}
