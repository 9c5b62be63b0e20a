"""What Optuna has lost of a study is written there again from the service's rows, and the study goes on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.service.lifecycle import study_rows
from luthier.studies.protocol import Decision
from tests.support.harness import Running, ScriptedWorker, optuna_trials, running, spec

pytestmark = pytest.mark.both_databases

CHILDREN = (
    "trial_params",
    "trial_values",
    "trial_intermediate_values",
    "trial_system_attributes",
    "trial_user_attributes",
)
NO_DISTRIBUTION = {"space": {**spec()["space"], "learning_rate": {"low": 1e-6, "high": 1e-3}, "epochs": 4}}


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Callable[[], Any]:
    return lambda: running(tmp_path / "home", database_url)


def run(url: str, *statements: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def lose(url: str, which: str) -> None:
    """Delete Optuna's trials for which an SQL condition of the table `trials` holds."""
    lost = f"SELECT trial_id FROM trials WHERE {which}"
    run(url, *(f"DELETE FROM {t} WHERE trial_id IN ({lost})" for t in CHILDREN), f"DELETE FROM trials WHERE {which}")


def lose_study(url: str) -> None:
    lose(url, "1 = 1")
    run(url, "DELETE FROM study_directions", "DELETE FROM studies")


def facts(url: str) -> list[Any]:
    """Return all that samplers and pruners learn from: it must be the same after a repair."""
    return [
        (t.number, t.state.name, t.params, t.distributions, t.values, t.intermediate_values, t.system_attrs)
        for t in optuna_trials(url, "s1")
    ]


def ends(worker: ScriptedWorker) -> None:
    """Train to several ends: complete, out of memory, diverged, failed."""
    worker.train(worker.take())
    failed = {1: ("failed", "oom"), 2: ("pruned", "diverged"), 3: ("failed", "error")}
    for number, (state, reason) in failed.items():
        a = worker.take()
        assert a.number == number
        worker.train(a, steps=number - 1)
        worker.finish(a, state, reason=reason, problem={"message": "no"})
    worker.train(worker.take())


LOSSES = {
    "the last": lambda url: lose(url, "number = 4"),
    "some at the end": lambda url: lose(url, "number >= 2"),
    "one in the middle": lambda url: lose(url, "number = 2"),
    "the first and a later one": lambda url: lose(url, "number IN (0, 3)"),
    "all": lambda url: lose(url, "1 = 1"),
    "the whole study": lose_study,
}


@pytest.mark.full
@pytest.mark.parametrize(
    ("loss", "pruner"),
    [
        ("the last", "none"),
        pytest.param("one in the middle", "hyperband", marks=pytest.mark.full),
        pytest.param("some at the end", "none", marks=pytest.mark.full),
        pytest.param("some at the end", "hyperband", marks=pytest.mark.full),
        pytest.param("the first and a later one", "none", marks=pytest.mark.full),
        pytest.param("all", "hyperband", marks=pytest.mark.full),
        pytest.param("the whole study", "none", marks=pytest.mark.full),
    ],
)
def test_lost_while_the_service_was_down(start: Any, database_url: str, loss: str, pruner: str) -> None:
    with start() as house:
        worker = house.worker()
        house.started(worker, budget={"trials": 8}, parallel=1, pruner={"name": pruner}, **NO_DISTRIBUTION)
        ends(worker)
    before = facts(database_url)
    LOSSES[loss](database_url)
    with start() as house:
        worker = house.worker()
        a = worker.claim(wait_seconds=30)
        assert a is not None
        assert a.number == 5
        assert facts(database_url)[:5] == before
        worker.train(a)
        worker.drain()
        assert house.study()["state"] == "completed"
        assert house.study()["warnings"] == []
        assert [trial.number for trial in house.optuna()] == list(range(8))


@pytest.mark.full
@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.full)])
def test_a_row_deleted_by_hand(start: Any, database_url: str, number: int) -> None:
    """On SQLite what hangs on it stays, and its id is used again, by a trial of another study first."""
    with start() as house:
        worker = house.worker()
        house.started(worker, budget={"trials": 6})
        for _ in range(3):
            worker.train(worker.take())
    before = facts(database_url)
    if database_url.startswith("sqlite"):
        run(database_url, f"DELETE FROM trials WHERE number >= {number}")
    else:
        lose(database_url, f"number >= {number}")
    with start() as house:
        worker = house.worker()
        house.client.post("/v1/studies/s1/pause").raise_for_status()
        house.started(worker, "s2", budget={"trials": 2}, parallel=1)
        other = worker.claim(wait_seconds=20)
        assert other is not None
        assert other.study == "s2"
        house.client.post("/v1/studies/s1/resume").raise_for_status()
        a = worker.claim(wait_seconds=20)
        assert a is not None
        assert (a.study, a.number) == ("s1", 3)
        assert facts(database_url)[:3] == before


@pytest.mark.full
@pytest.mark.parametrize(
    "loss",
    [
        "one in the middle",
        pytest.param("the last", marks=pytest.mark.full),
        pytest.param("all", marks=pytest.mark.full),
        pytest.param("the whole study", marks=pytest.mark.full),
    ],
)
def test_lost_under_a_running_service(house: Running, worker: ScriptedWorker, database_url: str, loss: str) -> None:
    """It has them in memory; it goes on after some tries, and everything is in Optuna at the end."""
    house.started(worker, budget={"trials": 8}, parallel=1, **NO_DISTRIBUTION)
    ends(worker)
    before = facts(database_url)
    LOSSES[loss](database_url)
    other = house.worker("w2")
    for _ in range(3):
        a = other.claim(wait_seconds=30)
        assert a is not None
        other.train(a)
    house.reap()
    other.drain()
    assert house.study()["state"] == "completed"
    assert house.study()["warnings"] == []
    assert facts(database_url)[:5] == before
    assert [(t.number, t.state.name) for t in house.optuna()[5:]] == [(n, "COMPLETE") for n in (5, 6, 7)]


def test_a_trial_that_runs_goes_on(start: Any, database_url: str) -> None:
    with start() as house:
        worker = house.worker()
        house.started(worker, budget={"trials": 3}, evaluations_per_epoch=2)
        mine = {"learning_rate": 2e-4, "batch_size": 16, "epochs": 3, "freeze_depth": 1}
        assert house.client.post("/v1/studies/s1/trials", json={"params": mine}).status_code == 201
        baseline, second = worker.take(), worker.take()
        worker.train(second, steps=2)
        lose(database_url, "1 = 1")
    with start() as house:
        worker = house.worker()
        checkpoint = second.checkpoint.model_copy(update={"step": 2})
        worker.train(second.model_copy(update={"checkpoint": checkpoint}))
        worker.train(baseline)
        worker.drain()
        told = house.optuna()
        assert house.study()["state"] == "completed"
        assert [t.state.name for t in told] == ["COMPLETE"] * 3
        assert told[1].params == mine
        for ours, theirs in zip(house.trials(), told, strict=True):
            assert theirs.value == ours["value"]
            assert theirs.intermediate_values == {v["step"]: v["metrics"]["accuracy"] for v in ours["values"]}


def test_a_backup_restored_under_a_running_service(house: Running, worker: ScriptedWorker, database_url: str) -> None:
    """Our rows and Optuna's go back together; what the service remembers of later ones is forgotten."""
    house.started(worker, budget={"trials": 4}, parallel=1, **NO_DISTRIBUTION)
    for _ in range(2):
        worker.train(worker.take())
    house.reap()
    a = worker.take()
    worker.train(a, steps=2)
    lose(database_url, "number = 2")
    run(
        database_url,
        f"DELETE FROM luthier_report WHERE assignment_id = {a.id}",
        f"DELETE FROM luthier_assignment WHERE id = {a.id}",
        "UPDATE luthier_service SET seen_at = seen_at - 1000",
    )
    with house.core.database.reading() as session:
        study = study_rows.find(session, "s1")
    assert house.core.searches.get(study).count() == 3
    house.reap()
    assert house.core.searches.get(study).count() == 2
    worker.drain()
    assert house.study()["state"] == "completed"
    assert [t.value for t in house.optuna()] == [trial["value"] for trial in house.trials()]
    assert len(house.optuna()) == 4


def test_optuna_is_whole_in_the_end(house: Running, worker: ScriptedWorker, database_url: str) -> None:
    """Lost when no further trial is drawn: the end of the study finds it."""
    house.started(worker, budget={"trials": 2}, parallel=1)
    for _ in range(2):
        worker.train(worker.take())
    before = facts(database_url)
    lose(database_url, "number = 1")
    with house.core.database.reading() as session:
        house.core.searches.forget(study_rows.find(session, "s1").id)
    worker.drain()
    assert house.study()["state"] == "completed"
    assert facts(database_url) == before


@pytest.mark.full
def test_two_services_at_once(house: Running, worker: ScriptedWorker, database_url: str, tmp_path: Path) -> None:
    house.started(worker, budget={"trials": 10}, parallel=2, **NO_DISTRIBUTION)
    for _ in range(4):
        worker.train(worker.take())
    before = facts(database_url)
    with running(tmp_path / "home", database_url) as second:
        lose(database_url, "number IN (1, 3)")
        for service in (house, second):
            service.reap()
        workers: Iterator[ScriptedWorker] = iter((second.worker("w2"), worker))
        for one in workers:
            for _ in range(3):
                a = one.claim(wait_seconds=30)
                assert a is not None
                one.train(a)
        worker.drain()
        assert house.study()["state"] == "completed"
        assert facts(database_url)[:4] == before
        assert [t.number for t in house.optuna()] == list(range(10))


@pytest.mark.parametrize("reports", [1, pytest.param(0, marks=pytest.mark.full)])
def test_an_end_that_only_optuna_has_ends_no_trial(
    house: Running, worker: ScriptedWorker, database_url: str, reports: int
) -> None:
    """As after a restore of a back-up, under which an end of a later time was told."""
    house.started(worker, budget={"trials": 4}, parallel=1)
    worker.train(worker.take())
    a = worker.take()
    run(database_url, f"UPDATE trials SET state = 'COMPLETE' WHERE number = {a.number}")
    house.app.state.service.core.searches.forget(1)
    for step in range(1, 1 + reports):
        assert worker.report(a, step, 0.1) is Decision.CONTINUE
    worker.finish(a, "failed", reason="error", problem={"message": "no"})
    a = worker.claim(wait_seconds=30)
    assert a is not None
    worker.train(a)
    worker.drain()
    assert house.study()["state"] == "completed"
    ours = [trial["state"] for trial in house.trials()]
    assert ours == ["complete", "failed", "complete", "complete"]
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert house.optuna()[1].intermediate_values == dict.fromkeys(range(1, 1 + reports), 0.1)
