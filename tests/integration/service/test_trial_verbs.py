"""One trial is stopped, run again, or deleted: what is kept, what is refused with a cure, what a search still knows."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import AssignmentKind, Decision, StudyState
from tests.support.harness import Running, ScriptedWorker, problem

pytestmark = pytest.mark.both_databases
TRIALS = "/v1/studies/s1/trials"


def post(house: Running, number: int, verb: str, status: int = 200) -> dict[str, Any]:
    response = house.client.post(f"{TRIALS}/{number}/{verb}")
    assert response.status_code == status, response.text
    return dict(response.json())


def files_of(house: Running, number: int) -> set[str]:
    return {file["name"] for file in house.get(f"{TRIALS}/{number}")["files"]}


def test_a_stopped_trial_ends_at_its_next_evaluation_and_keeps_its_best(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 3}, space={"epochs": 3, "learning_rate": [1e-4, 1e-5, 1e-6]})
    a = worker.take()
    worker.score = lambda params, step: {1: 0.9, 2: 0.8}[step]
    worker.train(a, steps=1)
    assert post(house, 0, "stop")["stopping"] is True
    assert post(house, 0, "stop")["state"] == "running", "once more is the same"
    worker.write(a, "resume-2", b"later")
    assert worker.report(a, 2, 0.8) is Decision.STOP
    worker.finish(a, "complete", reason="budget")
    trial = house.get(f"{TRIALS}/0")
    assert (trial["state"], trial["reason"], trial["value"], trial["stopping"]) == ("complete", "stopped", 0.9, False)
    assert files_of(house, 0) == {"best-1"}
    assert house.optuna()[0].value == 0.9
    assert "nothing to stop" in problem(house.client.post(f"{TRIALS}/0/stop"), 409)["detail"]
    assert house.study()["best"]["trial"] == 0
    worker.score = lambda params, step: 0.5
    worker.drain()
    assert house.study()["state"] == "completed"
    assert house.study()["best"]["trial"] == 0


@pytest.mark.parametrize("steps", [0, 1])
def test_a_stopped_trial_that_waits_for_a_worker_ends_at_once(
    house: Running, worker: ScriptedWorker, steps: int
) -> None:
    house.started(worker, parallel=1)
    a = worker.take()
    worker.train(a, steps=steps)
    worker.finish(a, "released")
    trial = post(house, 0, "stop")
    assert (trial["state"], trial["reason"]) == ("complete" if steps else "cancelled", "stopped")
    assert house.optuna()[0].state.name == ("COMPLETE" if steps else "FAIL")
    assert worker.take().number == 1


@pytest.mark.full
def test_a_stopped_trial_whose_worker_is_lost_ends(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1)
    worker.train(worker.take(), steps=1)
    post(house, 0, "stop")
    house.move_clock(31)
    house.reap()
    trial = house.get(f"{TRIALS}/0")
    assert (trial["state"], trial["reason"]) == ("complete", "stopped")
    assert house.optuna()[0].state.name == "COMPLETE"


def test_a_failed_trial_runs_again_with_its_seed(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 5})
    worker.train(worker.take())
    a = worker.take()
    worker.finish(a, "failed", reason="error", problem={"message": "a cable was loose"})
    again = post(house, 1, "retry")
    assert (again["number"], again["retry_of"], again["seed"]) == (2, 1, a.seed)
    assert again["params"] == house.get(f"{TRIALS}/1")["params"]
    assert post(house, 1, "retry")["number"] == 2, "it is queued already"
    b = worker.take()
    assert (b.number, b.seed) == (2, a.seed)
    worker.train(b)
    assert post(house, 1, "retry")["number"] == 2, "it was run again already"
    assert "with the seed" in problem(house.client.post(f"{TRIALS}/2/retry"), 409)["detail"]
    c = worker.take()
    assert "stop it first" in problem(house.client.post(f"{TRIALS}/{c.number}/retry"), 409)["detail"]


@pytest.mark.full
def test_a_retry_is_never_pruned_and_counts_in_the_budget(house: Running, worker: ScriptedWorker) -> None:
    pruner = {"name": "percentile", "percentile": 50, "startup_trials": 1, "warmup_steps": 0}
    space = {"epochs": 3, "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True}}
    house.started(worker, parallel=1, budget={"trials": 6}, pruner=pruner, space=space)
    for _ in range(3):
        worker.train(worker.take())
    worker.score = lambda params, step: 0.1
    worker.train(worker.take())
    assert house.get(f"{TRIALS}/3")["state"] == "pruned"
    assert post(house, 3, "retry")["number"] == 4
    worker.train(worker.take())
    assert house.get(f"{TRIALS}/4")["state"] == "complete"
    worker.train(worker.take())
    assert house.get(f"{TRIALS}/5")["state"] == "pruned"
    assert "winner" in problem(house.client.post(f"{TRIALS}/5/retry"), 409)["detail"], "all six have run"


def test_a_deleted_trial_is_gone_from_lists_files_and_search(house: Running, worker: ScriptedWorker) -> None:
    space = {"learning_rate": [1e-6, 1e-5, 1e-4], "epochs": 1}
    house.started(worker, parallel=1, budget={"trials": 3}, space=space)
    for _ in range(2):
        worker.train(worker.take())
    gone = house.get(f"{TRIALS}/1")
    folder = Path(house.core.store.root, f"1-{id_of(house, 1)}")
    assert folder.exists()
    assert house.client.delete(f"{TRIALS}/1").status_code == 204
    assert not folder.exists()
    problem(house.client.get(f"{TRIALS}/1"), 404)
    assert "deleted" in problem(house.client.delete(f"{TRIALS}/1"), 404)["detail"]
    problem(house.client.get(f"{TRIALS}/1/logs"), 404)
    assert [trial["number"] for trial in house.trials()] == [0]
    assert house.study()["counts"]["complete"] == 1
    worker.drain()
    worker.drain()
    trials = house.trials()
    assert [trial["number"] for trial in trials] == [0, 2, 3], "its place in the budget is free, its number is not"
    assert gone["params"] in [trial["params"] for trial in trials], "and its configuration may be drawn again"
    study = house.study()
    assert study["state"] == "completed"
    assert study["counts"]["complete"] == 3
    assert study["gpu_seconds"] == 4.0, "the time of the deleted one was spent"


def id_of(house: Running, number: int) -> int:
    """Return the id of a trial's row, by which its folder is called."""
    is_trial = (AssignmentRow.kind == AssignmentKind.TRAIN) & (AssignmentRow.number == number)
    with house.core.database.reading() as session:
        return int(session.scalars(select(AssignmentRow.id).where(is_trial)).one())


def test_what_a_result_rests_on_is_not_deleted(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=2, budget={"trials": 4})
    worker.train(worker.take())
    running = worker.take()
    assert "stop it first" in problem(house.client.delete(f"{TRIALS}/1"), 409)["detail"]
    assert "baseline" in problem(house.client.delete(f"{TRIALS}/0"), 409)["detail"]
    worker.train(running)
    worker.train(worker.take())
    worker.train(worker.take())
    assert "winner" in problem(house.client.delete(f"{TRIALS}/1"), 409)["detail"], "it is being measured"
    worker.drain()
    best = house.study()["best"]["trial"]
    assert "winner" in problem(house.client.delete(f"{TRIALS}/{best}"), 409)["detail"]
    other = next(number for number in (1, 2, 3) if number != best)
    assert house.client.delete(f"{TRIALS}/{other}").status_code == 204
    assert house.study()["best"]["trial"] == best


def test_a_queued_trial_is_deleted_before_it_starts(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 3})
    running = worker.take()
    own = {"learning_rate": 2e-4, "batch_size": 8, "epochs": 2, "freeze_depth": 6}
    assert house.client.post(TRIALS, json={"params": own}).status_code == 201
    assert house.client.delete(f"{TRIALS}/1").status_code == 204
    assert house.optuna()[1].state.name == "FAIL"
    worker.train(running)
    assert worker.take().number == 2
    assert house.client.post(TRIALS, json={"params": own}).json()["number"] == 3, "the same may be asked for again"


@pytest.mark.full
def test_the_next_best_is_trained_again_where_the_best_was_deleted(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 4})
    seen: list[dict[str, Any]] = []

    def score(params: dict[str, Any], step: int) -> float:
        seen.extend([] if params in seen else [params])
        return {1: 0.7, 2: 0.9}.get(seen.index(params), 0.5)

    worker.score = score
    for _ in range(3):
        worker.train(worker.take())
    kept = (files_of(house, 1), files_of(house, 2))
    assert kept == (set(), {"best-1"}), "only the best one's weights are kept, and the baseline's to be measured"
    assert house.client.delete(f"{TRIALS}/2").status_code == 204
    worker.drain()
    study = house.study()
    assert study["state"] == StudyState.COMPLETED, study
    assert study["best"]["trial"] == 1
    assert "Trial 1" in " ".join(study["warnings"]) or "trial 1" in " ".join(study["warnings"])
    assert study["model"] is not None


@pytest.mark.parametrize("number", [7, 2**31, -1, "one"])
@pytest.mark.parametrize(("method", "verb"), [("POST", "/stop"), ("POST", "/retry"), ("DELETE", "")])
def test_a_trial_that_is_not_there(inspected: Running, method: str, verb: str, number: Any) -> None:
    response = inspected.client.request(method, f"{TRIALS}/{number}{verb}")
    problem(response, 404 if number == 7 else 422)
    problem(inspected.client.request(method, f"/v1/studies/nobody/trials/0{verb}"), 404)


@pytest.mark.full
def test_no_trial_of_an_ended_study_runs_again(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 2})
    worker.finish(worker.take(), "failed", reason="error")
    worker.drain()
    assert house.study()["state"] == "completed"
    assert "extend" in problem(house.client.post(f"{TRIALS}/0/retry"), 409)["detail"]
    assert house.client.delete(f"{TRIALS}/0").status_code == 204, "a baseline without a score compares nothing"
    assert house.study()["baseline"] is None
