"""The search over both databases: what is asked, adopted, pruned, told and drawn."""

import json
import math
import multiprocessing
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import event

from luthier.studies.hyperparameters import Params, complete
from luthier.studies.protocol import Reason, TrialState
from luthier.studies.search.samplers import missing_packages
from luthier.studies.search.search import Search
from luthier.studies.search.storage import Storage, close_storage, init_storage, open_storage
from luthier.studies.spec import StudySpec
from tests.support.specs import SPACE, spec

pytestmark = pytest.mark.both_databases

GRID = {"batch_size": [8, 16, 32], "epochs": {"low": 1, "high": 4}, "optimizer": ["adamw", "sgd"]}  # 24 points
SAMPLERS = ["tpe", "cmaes", "qmc", "random", "grid"]  # and gp, which has a test of its own: importing torch takes long
Open = Callable[[str], Storage]


@pytest.fixture
def open_again() -> Iterator[Open]:
    """Opens storages as other processes would, and closes them at the test's end."""
    with ExitStack() as stack:

        def open_it(url: str) -> Storage:
            storage = open_storage(url)
            stack.callback(close_storage, storage)
            return storage

        yield open_it


@pytest.fixture
def storage(database_url: str, open_again: Open) -> Storage:
    return open_again(database_url)


@pytest.fixture
def sqlite(sqlite_url: str, open_again: Open) -> Storage:
    return open_again(sqlite_url)


def start(storage: Storage, **changes: Any) -> Search:
    s = spec(**changes)
    return Search(storage, s, s.space.resolved(6))


def score(params: Params) -> float:
    """Best, 1.0, at learning rate 1e-4."""
    return 1 - abs(math.log10(float(params.get("learning_rate", 1e-4))) + 4) / 3 - float(params["epochs"]) / 100


def run(search: Search, numbers: range, end: Callable[[Params], float] = score) -> list[Params | None]:
    """Ask and tell trial after trial."""
    asked = []
    for number in numbers:
        params = search.ask(number)
        asked.append(params)
        if params is not None:
            search.tell(number, TrialState.COMPLETE, end(params), None)
    return asked


def distinct(asked: list[Params | None]) -> set[str]:
    return {json.dumps(params) for params in asked if params is not None}


# ---- what is asked


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


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_configuration_lies_in_the_space_with_plain_types(sqlite: Storage, sampler: str) -> None:
    grid = {"learning_rate": {"low": 0.0, "high": 0.001, "step": 0.0001}} if sampler == "grid" else {}
    space = {**SPACE, "weight_decay": {"low": 0, "high": 0.3, "step": 0.05}, "optimizer": "sgd", **grid}
    if sampler == "grid":
        space["learning_rate"] = {"low": 1e-4, "high": 1e-3, "step": 1e-4}
    search = start(sqlite, space=space, sampler={"name": sampler})
    for params in run(search, range(15)):
        assert params is not None
        assert {type(value) for value in params.values()} <= {int, float, str}
        s = spec(space=space).space.resolved(6)
        assert s.check(params) == params and list(params) == list(s)


@pytest.mark.parametrize("sampler", [*SAMPLERS, "gp"])
def test_every_configuration_of_a_finite_space_runs_once_then_it_is_exhausted(sqlite: Storage, sampler: str) -> None:
    search = start(sqlite, space=GRID, sampler={"name": sampler})
    asked = run(search, range(24))
    assert len(distinct(asked)) == 24
    assert search.ask(24) is None and search.ask(24) is None
    assert search.count() == 24 and search.unfinished() == []


def test_exhaustion_counts_failed_and_running_trials(storage: Storage) -> None:
    search = start(storage, space={"epochs": 2, "batch_size": [8, 16, 32]}, sampler={"name": "grid"})
    search.tell(0, TrialState.FAILED, None, Reason.ERROR) if search.ask(0) else None
    search.ask(1)
    search.ask(2)
    assert search.ask(3) is None
    assert search.unfinished() == [1, 2] and search.count() == 3


def test_a_space_without_anything_to_search_holds_the_baseline_only(sqlite: Storage) -> None:
    search = start(sqlite, space={"epochs": 2})
    assert search.ask(0) == {"epochs": 2}
    assert search.ask(1) is None


def test_dimensions_with_one_value_are_fixed(sqlite: Storage) -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-4}, "epochs": {"low": 3, "high": 3}, "batch_size": [8, 16]}
    search = start(sqlite, space=space)
    asked = [search.ask(0), search.ask(1)]
    assert {params["batch_size"] for params in asked if params} == {8, 16}
    assert all(params and params["learning_rate"] == 1e-4 and params["epochs"] == 3 for params in asked)
    assert search.ask(2) is None


def test_an_astronomically_large_grid_is_not_listed(sqlite: Storage) -> None:
    wide = {"low": 1, "high": 60_000}
    space = {"batch_size": wide, "max_length": {"low": 2, "high": 1_000_000}, "freeze_depth": [0, 1], "epochs": 3}
    asked = run(start(sqlite, space=space, sampler={"name": "grid"}), range(20))
    assert len(distinct(asked)) == 20 and None not in asked


def test_trials_are_numbered_without_gaps(sqlite: Storage) -> None:
    search = start(sqlite)
    with pytest.raises(ValueError, match="has 0 trials, so the next one is 0, not 1"):
        search.ask(1)


# ---- the same study again


def continued(url: str, sampler: str, numbers: range, results: "multiprocessing.Queue[Any]") -> None:
    search = start(open_storage(url), sampler={"name": sampler})
    results.put(run(search, numbers))


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc", "random"])
def test_the_same_seed_draws_the_same_also_when_another_process_goes_on(
    tmp_path: Path, sqlite: Storage, sampler: str, open_again: Open
) -> None:
    whole = run(start(sqlite, sampler={"name": sampler}), range(24))
    url = f"sqlite:///{tmp_path / 'again.db'}"
    init_storage(url)
    again = run(start(open_again(url), sampler={"name": sampler}), range(12))
    results: multiprocessing.Queue[Any] = multiprocessing.get_context("spawn").Queue()
    child = multiprocessing.get_context("spawn").Process(target=continued, args=(url, sampler, range(12, 24), results))
    child.start()
    again += results.get(timeout=60)
    child.join()
    assert again == whole
    other = run(start(sqlite, name="other", seed=1, sampler={"name": sampler}), range(3))
    assert other[0] == whole[0] and other[1] != whole[1]


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
    assert search.count() == 4 and search.unfinished() == [3]
    search.tell(3, TrialState.COMPLETE, 0.5, None)
    assert search.ask(3) == lost and search.count() == 4


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_trial_is_created_whole_in_one_transaction(sqlite: Storage, sampler: str) -> None:
    search = start(sqlite, sampler={"name": sampler})
    run(search, range(12))
    statements: list[str] = []
    engine = sqlite._backend.engine  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", lambda c, cursor, sql, *rest: statements.append(sql.split()[0]))
    event.listen(engine, "commit", lambda connection: statements.append("COMMIT"))
    search.ask(12)
    writing = [i for i, word in enumerate(statements) if word in ("INSERT", "UPDATE")]
    assert len(writing) > len(SPACE)
    assert "COMMIT" not in statements[writing[0] : writing[-1]] and "COMMIT" in statements[writing[-1] :]


# ---- a user's own configurations


def test_a_users_configuration_runs_as_it_is_and_is_found_again(storage: Storage) -> None:
    search = start(storage)
    search.ask(0)
    own = spec().space.check(
        {"learning_rate": 3e-4, "batch_size": 8, "epochs": 2, "weight_decay": 0.1, "freeze_depth": 1}
    )
    assert search.find(own) is None
    search.enqueue(1, own)
    search.enqueue(1, own)  # after a crash the service does so again
    assert search.find(own) == 1 and search.ask(1) == own and search.count() == 2
    with pytest.raises(ValueError, match="trial 0 exists already, with another configuration"):
        search.enqueue(0, own)


def test_a_configuration_is_found_whatever_became_of_its_trial(sqlite: Storage) -> None:
    search = start(sqlite)
    asked = [search.ask(number) for number in range(3)]
    search.tell(0, TrialState.FAILED, None, Reason.ERROR)
    search.tell(1, TrialState.CANCELLED, None, None)
    assert [search.find(params) for params in asked if params] == [0, 1, 2]


# ---- reports and pruning

PRUNERS: list[dict[str, Any]] = [
    {"name": "median"},
    {"name": "median", "startup_trials": 2, "warmup_steps": 2},
    {"name": "percentile", "percentile": 50.0},
    {"name": "hyperband"},
    {"name": "halving", "reduction_factor": 2},
    {"name": "patient", "patience": 1},
]


FIVE_EPOCHS = SPACE | {"epochs": 5}


def train(search: Search, number: int, curve: list[float]) -> int | None:
    """Report a curve; the step at which the trial was pruned, or None."""
    search.ask(number)
    for step, value in enumerate(curve, start=1):
        if search.report(number, step, value):
            search.tell(number, TrialState.PRUNED, None, None)
            return step
    search.tell(number, TrialState.COMPLETE, curve[-1], None)
    return None


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


@pytest.mark.parametrize("pruner", ["hyperband", "halving"])
def test_a_decision_on_a_rung_is_repeated_too(sqlite: Storage, pruner: str) -> None:
    search = start(sqlite, space=FIVE_EPOCHS, pruner={"name": pruner})
    decisions = {}
    for number in range(12):
        search.ask(number)
        decisions[number] = search.report(number, 1, 0.9 - 0.05 * number)
    assert True in decisions.values() and False in decisions.values()
    assert {number: search.report(number, 1, 0.5) for number in decisions} == decisions


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


def test_an_unknown_trial_is_a_lookup_error(sqlite: Storage) -> None:
    for pruner in ("none", "median", "hyperband"):
        search = start(sqlite, name=pruner, pruner={"name": pruner})
        with pytest.raises(LookupError, match=f"study {pruner} has no trial 0"):
            search.report(0, 1, 0.5)
        with pytest.raises(LookupError, match="has no trial 0"):
            search.tell(0, TrialState.COMPLETE, 0.5, None)


# ---- ends


def test_telling_twice_keeps_the_first_end(storage: Storage) -> None:
    search = start(storage)
    search.ask(0)
    search.tell(0, TrialState.COMPLETE, 0.5, None)
    search.tell(0, TrialState.FAILED, None, Reason.OOM)
    search.tell(0, TrialState.COMPLETE, 0.9, None)
    (trial,) = trials(storage)
    assert (trial.state, trial.value) == (optuna.trial.TrialState.COMPLETE, 0.5)
    assert trial.constraints == {}


def trials(storage: Storage) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="sms-spam", storage=storage).trials


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


def test_a_trial_that_has_not_ended_cannot_be_told(sqlite: Storage) -> None:
    search = start(sqlite)
    search.ask(0)
    with pytest.raises(ValueError, match="cannot be told as running"):
        search.tell(0, TrialState.RUNNING, None, None)


@pytest.mark.parametrize(
    ("sampler", "ignored"),
    [("tpe", (TrialState.FAILED, Reason.ERROR)), ("cmaes", (TrialState.PRUNED, None))],  # what teaches it nothing
)
def test_samplers_learn_to_stay_away_from_what_diverged(
    sqlite: Storage, sampler: str, ignored: tuple[TrialState, Reason | None]
) -> None:
    """Above 1e-4 every trial diverges after a promising start; below, the score grows towards it."""

    def diverged(name: str, state: TrialState, reason: Reason | None) -> int:
        search = start(sqlite, name=name, sampler={"name": sampler}, pruner={"name": "none"})
        count = 0
        for number in range(40):
            params = search.ask(number)
            assert params is not None
            rate = math.log10(float(params["learning_rate"]))
            search.report(number, 1, (rate + 6) / 3)
            if rate > -4:
                count += number >= 20
                search.tell(number, state, None, reason)
            else:
                search.tell(number, TrialState.COMPLETE, (rate + 6) / 3, None)
        return count

    assert diverged("marked", TrialState.PRUNED, Reason.DIVERGED) + 5 <= diverged("ignored", *ignored)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "gp"])
def test_a_model_finds_better_configurations_than_chance(sqlite: Storage, sampler: str) -> None:
    def late(name: str) -> float:
        startup = {"startup_trials": 6} if name != "random" else {}
        search = start(sqlite, name=name, sampler={"name": name, **startup}, pruner={"name": "none"})
        scores: list[float] = []
        run(search, range(24), lambda params: scores.append(score(params)) or scores[-1])  # type: ignore[func-returns-value]
        return sum(scores[12:]) / 12

    assert late(sampler) > late("random") + 0.05


def test_running_trials_repel_new_ones(sqlite: Storage) -> None:
    search = start(sqlite, sampler={"name": "tpe", "startup_trials": 4})
    run(search, range(6))
    asked = [search.ask(number) for number in range(6, 30)]
    assert len(distinct(asked)) == 24
    assert search.unfinished() == list(range(6, 30))


# ---- several at once


def test_reports_and_ends_arrive_from_many_threads(storage: Storage) -> None:
    search = start(storage, pruner={"name": "hyperband"})
    for number in range(12):
        search.ask(number)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in (1, 2, 3):
                search.report(number, step, number / 12)
            search.tell(number, TrialState.COMPLETE, number / 12, None)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [(t.value, sorted(t.intermediate_values)) for t in trials(storage)] == [
        (number / 12, [1, 2, 3]) for number in range(12)
    ]


def take_turns(url: str, mine: int, turns: Any, results: "multiprocessing.Queue[Any]") -> None:
    search = start(open_storage(url))

    def count() -> int:
        search.refresh()  # the other process has written
        return search.count()

    for number in range(20):
        with turns:
            turns.wait_for(lambda: count() >= number)  # noqa: B023 - used at once
            if number % 2 == mine:
                results.put(search.ask(number))
            turns.notify_all()
        if number % 2 == mine:
            search.report(number, 1, 0.5)
            search.tell(number, TrialState.COMPLETE, number / 20, None)
    results.put(None)


def test_two_processes_share_a_study(database_url: str, open_again: Open) -> None:
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[Any] = spawn.Queue()
    turns = spawn.Condition()
    children = [spawn.Process(target=take_turns, args=(database_url, mine, turns, results)) for mine in (0, 1)]
    for child in children:
        child.start()
    asked: list[Params | None] = []
    while asked.count(None) < 2:
        asked.append(results.get(timeout=60))
    for child in children:
        child.join()
    assert len(asked) == 22 and len(distinct(asked)) == 20
    assert [t.value for t in trials(open_again(database_url))] == [number / 20 for number in range(20)]


def test_another_process_is_seen_after_a_refresh(storage: Storage, database_url: str, open_again: Open) -> None:
    pruner = {"name": "median", "startup_trials": 1}
    here, there = start(storage, pruner=pruner), start(open_again(database_url), pruner=pruner)
    train(here, 0, [0.5] * 5)
    asked = there.ask(1)
    assert there.report(1, 1, 0.1) is True
    here.refresh()
    assert here.ask(1) == asked and here.unfinished() == [1]
    assert here.report(1, 1, 0.9) is True  # the decision made there
    here.tell(1, TrialState.PRUNED, None, None)
    there.tell(1, TrialState.COMPLETE, 0.9, None)  # without a refresh: the storage knows better
    there.refresh()
    assert there.unfinished() == [] and there.count() == 2
    assert [t.value for t in trials(storage)] == [0.5, 0.1]


def test_a_trial_asked_elsewhere_is_adopted_also_without_a_refresh(
    storage: Storage, database_url: str, open_again: Open
) -> None:
    here, there = start(storage), start(open_again(database_url))
    here.ask(0)
    there.ask(1)
    asked = there.ask(2)
    assert here.ask(2) == asked
    with pytest.raises(LookupError, match="has no trial 3"):
        here.report(3, 1, 0.5)


def test_a_study_may_be_opened_by_many_at_the_same_moment(database_url: str, open_again: Open) -> None:
    storages = [open_again(database_url) for _ in range(4)]
    barrier, searches = threading.Barrier(4), []

    def open_it(storage: Storage) -> None:
        barrier.wait()
        searches.append(start(storage))

    threads = [threading.Thread(target=open_it, args=(storage,)) for storage in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    searches[0].ask(0)
    assert [search.count() for search in searches] == [1, 1, 1, 1]


def test_initialising_twice_keeps_what_is_there(empty_url: str, open_again: Open) -> None:
    init_storage(empty_url)
    start(open_again(empty_url)).ask(0)
    init_storage(empty_url)
    assert start(open_again(empty_url)).count() == 1


def test_sqlite_waits_for_other_writers(sqlite: Storage) -> None:
    with sqlite._backend.engine.connect() as connection:  # type: ignore[attr-defined]
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
        assert pragma == {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 60_000}


def test_a_deleted_study_is_gone(storage: Storage) -> None:
    search = start(storage)
    search.ask(0)
    search.delete()
    search.delete()
    assert start(storage).count() == 0


# ---- plots


@pytest.mark.parametrize("kind", ["history", "importance", "parallel", "slice", "contour", "intermediate", "timeline"])
def test_a_figure_renders(sqlite: Storage, kind: str) -> None:
    search = start(sqlite, space={**SPACE, "optimizer": ["adamw"], "dropout": {"low": 0.1, "high": 0.1}})
    with pytest.raises(ValueError, match=f"the {kind} plot needs "):
        search.figure(kind)
    for number in range(4):
        params = search.ask(number)
        assert params
        search.report(number, 1, score(params) / 2)
        search.tell(number, TrialState.COMPLETE, score(params), None)
    for number, (state, reason) in enumerate([("failed", "oom"), ("pruned", None), ("failed", "error")], start=4):
        search.ask(number)
        search.tell(number, TrialState(state), None, Reason(reason) if reason else None)
    search.ask(7)
    figure = json.loads(search.figure(kind).to_json())
    assert figure["data"]
    assert "dropout" not in json.dumps(figure["layout"])


def test_a_figure_that_cannot_be_drawn_says_why(sqlite: Storage) -> None:
    search = start(sqlite, space={"epochs": {"low": 1, "high": 3}})
    with pytest.raises(ValueError, match=r"one of history, importance, .*, not pie"):
        search.figure("pie")
    run(search, range(1))
    with pytest.raises(ValueError, match="needs 2 complete trials; there is 1"):
        search.figure("importance")
    run(search, range(1, 3), lambda params: 0.5)
    with pytest.raises(ValueError, match="needs 2 hyperparameters with more than one value"):
        search.figure("contour")


# ---- what is installed


def test_nothing_heavy_is_imported_for_what_does_not_need_it(sqlite_url: str) -> None:
    """Search and plots with TPE, in a process where torch, scikit-learn and scipy cannot be imported."""
    code = f"""
        import sys
        for name in ("torch", "sklearn", "scipy", "cmaes", "pandas"):
            sys.modules[name] = None
        from luthier.studies.protocol import TrialState
        from luthier.studies.search.search import Search
        from luthier.studies.search.storage import open_storage
        from tests.support.specs import spec
        search = Search(open_storage({sqlite_url!r}), spec(), spec().space)
        for number in range(14):
            search.ask(number)
            search.report(number, 1, number / 20)
            search.tell(number, TrialState.COMPLETE, number / 14, None)
        for kind in ("history", "importance", "parallel", "slice", "contour", "intermediate", "timeline"):
            search.figure(kind).to_json()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_missing_packages_are_named_without_importing_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(name: str) -> list[str]:
        return missing_packages(spec(sampler={"name": name}, space=GRID))

    assert [of(name) for name in [*SAMPLERS, "gp"]] == [[]] * 6
    monkeypatch.setattr("luthier.studies.search.samplers.find_spec", lambda name: None)
    assert {name: of(name) for name in [*SAMPLERS, "gp"]} == {
        "tpe": [],
        "cmaes": ["cmaes"],
        "qmc": ["scipy"],
        "random": [],
        "grid": [],
        "gp": ["torch", "scipy"],
    }


def test_the_baseline_is_one_of_the_grids_points(sqlite: Storage) -> None:
    search = start(sqlite, space=GRID, sampler={"name": "grid"})
    first = search.ask(0)
    s: StudySpec = spec(space=GRID)
    assert first == s.space.clip(complete({}, s.task_info.baseline))
    assert all(search.ask(number) != first for number in range(1, 24))
