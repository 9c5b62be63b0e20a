"""What a person or a crash left half-way comes to an end."""

from pathlib import Path
from typing import Any

import pytest

from luthier.service.api import plan
from luthier.service.dispatch import search_faults
from luthier.service.lifecycle import study_rows
from luthier.studies.protocol import AssignmentKind
from luthier.studies.search.search import Search
from tests.support.harness import Running, ScriptedWorker, problem, spec

pytestmark = pytest.mark.both_databases

MINE = {"learning_rate": 3e-4, "batch_size": 16, "epochs": 2, "weight_decay": 0.1, "freeze_depth": 2}


def enqueue(house: Running, params: dict[str, Any]) -> Any:
    return house.client.post("/v1/studies/s1/trials", json={"params": params})


def mine(house: Running) -> dict[str, Any]:
    """A configuration of the study's space that no sampler draws."""
    space = house.study()["spec"]["space"]
    return {name: value for name, value in MINE.items() if name in space}


def test_a_users_configuration_never_takes_the_baselines_place(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 3})
    answer = enqueue(house, mine(house))
    assert answer.status_code == 201
    assert answer.json()["number"] == 1
    worker.drain()
    trials = house.trials()
    assert trials[1]["params"] == mine(house)
    assert trials[0]["params"] != mine(house)
    assert house.study()["baseline"]["value"] == trials[0]["value"]
    assert len(trials) == len(house.optuna()) == 3


def test_a_users_configuration_comes_after_what_a_crash_left(house: Running, worker: ScriptedWorker) -> None:
    """Optuna has a trial that our rows lack; the user's is the next, and both run."""
    house.started(worker, budget={"trials": 4})
    worker.work(worker.take())
    with house.core.database.reading() as session:
        search = house.core.searches.get(study_rows.find(session, "s1"))
    left = search.ask(1)
    answer = enqueue(house, mine(house))
    assert answer.status_code == 201, answer.text
    assert answer.json()["number"] == 2
    worker.drain()
    trials = house.trials()
    assert [trial["params"] for trial in trials[1:3]] == [left, mine(house)]
    assert len(trials) == len(house.optuna()) == 4
    assert house.study()["state"] == "completed"


def test_no_room_is_left_when_the_baseline_takes_it(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 1})
    assert "all 1 trials" in problem(enqueue(house, mine(house)), 409)["detail"]
    worker.drain()
    assert house.study()["state"] == "completed"
    assert len(house.trials()) == 1


def test_a_turn_that_an_error_ends_is_given_back(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.started(worker, budget={"trials": 2})

    def broken(*_: Any) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(Search, "ask", broken)
        patch.setattr(search_faults, "FIRST_PAUSE", 0.0)
        assert worker.claim() is None
        assert "out of luck" in house.study()["warnings"][0]
    house.worker("other").drain()  # at once, not when the turn runs out
    assert house.study()["state"] == "completed"


@pytest.mark.parametrize("step", [2, 4])
def test_optuna_hears_of_an_evaluation_that_a_crash_kept_from_it(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """It could not be told after our row was written, and the worker died: the next attempt goes on after it."""
    house.started(worker, budget={"trials": 1}, evaluations_per_epoch=2, space={**spec()["space"], "epochs": 2})
    a = worker.take()
    worker.train(a, steps=step - 1)

    def broken(*_: Any) -> None:
        raise RuntimeError("the service ends here")

    with monkeypatch.context() as patch:
        patch.setattr(Search, "report", broken)
        worker.train(a.model_copy(update={"checkpoint": a.checkpoint.model_copy(update={"step": step - 1})}), steps=1)
    other = house.worker("other")
    other.finish(a, "lost")
    other.drain()
    assert [value["step"] for value in house.trials()[0]["values"]] == [1, 2, 3, 4]
    assert sorted(house.optuna()[0].intermediate_values) == [1, 2, 3, 4]


def test_a_paused_study_out_of_time_waits_for_nobody(house: Running, worker: ScriptedWorker) -> None:
    """Its trial was given back while it was paused; that trial has to end before the study does."""
    house.started(worker, budget={"wall_clock_seconds": 100})
    a = worker.take()
    worker.train(a, steps=1)
    house.client.post("/v1/studies/s1/pause").raise_for_status()
    worker.finish(a, "released")
    house.move_clock(101)
    house.reap()
    worker.drain()
    study = house.study()
    assert study["state"] == "completed"
    assert study["model"] is not None


def test_a_winner_that_could_not_be_measured_is_measured_again(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 2})
    for _ in range(2):
        worker.work(worker.take())
    full = {"message": "The disk is full: free some space."}
    worker.finish(worker.take(AssignmentKind.EVALUATE), "failed", reason="error", problem=full)
    study = house.study()
    assert study["state"] == "failed"
    assert "disk is full" in study["error"]
    assert "`resume`" in study["error"]
    assert house.client.post("/v1/studies/s1/resume").json()["state"] == "running"
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    study = house.study()
    assert study["state"] == "completed"
    assert study["error"] is None
    assert study["model"] is not None
    assert study["best"]["test"] is not None
    problem(house.client.post("/v1/studies/s1/resume"), 409)


def test_stopping_before_any_worker_came_ends_at_once(house: Running) -> None:
    house.create()
    assert house.client.post("/v1/studies/s1/stop").json()["state"] == "stopped"


def test_the_last_trials_files_go_too(house: Running, worker: ScriptedWorker) -> None:
    """Lost for good after the winner was found: nothing of it stays in an ended study but its log."""
    house.started(worker, budget={"trials": 2}, parallel=2)
    first, second = worker.take(), worker.take()
    worker.train(second, steps=1)
    worker.train(first)
    for _ in range(house.settings.max_losses):
        worker.finish(second, "lost", problem={"message": "killed"})
        second = worker.claim() or second
    if second.kind is AssignmentKind.EVALUATE:
        worker.evaluate(second)
    worker.drain()
    assert house.study()["state"] == "completed"
    left = {path.name for path in Path(second.store).parent.glob("*/*") if not path.name.startswith(("model", "best"))}
    assert not any(name.startswith("resume") for name in left)


@pytest.mark.full
def test_a_plan_waits_for_a_worker_that_is_busy(house_sqlite: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that trains for minutes claims nothing; it is there all the same."""
    house, worker = house_sqlite, house_sqlite.worker("busy")
    house.started(worker, name="long", parallel=1)
    a = worker.take()
    house.move_clock(25)
    worker.renew(a)
    house.move_clock(25)
    worker.renew(a)
    house.move_clock(25)
    monkeypatch.setattr(plan, "NO_WORKER_SECONDS", 0.0)
    monkeypatch.setattr(plan, "WAIT_SECONDS", 0.5)
    answer = house.client.post("/v1/studies:plan", json=spec("planned"))
    assert "busy" in problem(answer, 503)["detail"]
    house.client.post("/v1/studies/long/cancel").raise_for_status()
