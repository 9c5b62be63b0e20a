"""Trials that diverge, run out of memory, or report what is no number."""

import json
from typing import Any

import pytest

from tests.support.harness import Running, ScriptedWorker, held, problem, running


@pytest.mark.parametrize(("status", "reason", "state"), [("pruned", "diverged", "pruned"), ("failed", "oom", "failed")])
def test_what_diverged_or_did_not_fit_is_never_best(
    house: Running, worker: ScriptedWorker, status: str, reason: str, state: str
) -> None:
    house.started(worker, parallel=1, budget={"trials": 3})
    a = worker.take()
    worker.report(a, 1, 0.99)
    worker.report(a, 2, None)
    worker.finish(a, status, reason=reason, problem={"message": "The loss became NaN at step 2."})
    assert house.study()["best"] is None
    worker.drain()
    study, trial = house.study(), house.trials()[0]
    assert study["state"] == "completed"
    assert study["best"]["trial"] != 0
    assert trial["state"] == state
    assert trial["reason"] == reason
    assert "NaN" in trial["error"]
    assert trial["values"][1]["metrics"]["accuracy"] is None
    told = house.optuna()[0]
    assert told.state.name == "PRUNED"
    assert any(value > 0 for key, value in told.system_attrs.items() if "constraint" in key), "infeasible for Optuna"


def test_what_fits_in_memory_is_remembered_for_the_study(
    house: Running, worker: ScriptedWorker, database_url: str
) -> None:
    house.started(worker, parallel=4, budget={"trials": 9})
    first, second = worker.take(), worker.take()
    assert first.micro_batch is None
    for a, fitted, known in ((first, 8, 8), (second, 4, 4), (first, 6, 4)):
        worker.report(a, 2 if fitted == 6 else 1, 0.5, micro_batch=fitted)
        other = worker.take()
        assert other.micro_batch == known
        worker.finish(other, "released")
    worker.finish(first, micro_batch=3)
    worker.finish(second, "failed", reason="oom")
    with running(house.settings.home / "later", database_url) as later:  # another service, as after a restart
        assert later.worker("w2").take().micro_batch == 3
    house.client.post("/v1/studies/s1/cancel")
    house.started(worker, "other")
    assert worker.take().micro_batch is None


def test_a_trial_without_any_score_fails(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 2})
    a = worker.take()
    for step in (1, 2):
        worker.report(a, step, None)
    worker.finish(a)
    trial = house.trials()[0]
    assert trial["state"] == "failed"
    assert trial["value"] is None
    assert "without a finite score" in trial["error"]
    worker.drain()
    assert house.study()["best"]["trial"] == 1
    assert house.study()["baseline"] == {"trial": 0, "value": None, "test": None, "interval": None}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", '"0.5"', "true", "[]"])
def test_a_score_that_is_no_finite_number_is_refused(inspected_running: Any, number: str) -> None:
    house, worker, a = inspected_running
    content = f'{{"id": {a.id}, "token": "{a.token}", "step": 1, "metrics": {{"accuracy": {number}}}}}'
    headers = {"content-type": "application/json"}
    response = worker.client.post("/v1/worker/report", content=content, headers=headers)
    assert problem(response, 422)["errors"][0]["path"] == "metrics.accuracy"
    assert house.trials()[0]["values"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 0},
        {"step": 2**31},
        {"step": 1.5},
        {"id": 2**70},
        {"id": -(2**70)},
        {"token": "\x00"},
        {"token": "x" * 10_000},
        {"seconds": -1},
        {"peak_memory_bytes": 2**70},
        {"metrics": {"\ud800": 1}},
        {"metrics": {"x\x00": 1}},
        {"metrics": None},
        {"log": "\ud800"},
        {"best": {"name": "../x", "sha256": "0" * 64, "bytes": 1}},
        {"best": {"name": "x", "sha256": "0", "bytes": 1}},
        {"color": "blue"},
    ],
)
def test_a_message_that_makes_no_sense_is_refused(inspected_running: Any, changes: dict[str, Any]) -> None:
    house, worker, a = inspected_running
    message = {**held(a), "step": 1, "metrics": {"accuracy": 0.5}} | changes
    headers = {"content-type": "application/json"}
    response = worker.client.post("/v1/worker/report", content=json.dumps(message), headers=headers)
    assert response.status_code in (409, 422), response.text
    assert house.trials()[0]["values"] == []


@pytest.mark.parametrize(
    "message",
    [
        {"status": "complete", "problem": {"message": "x\x00y", "path": ["\x00", 1]}},
        {"status": "pruned", "seconds": 1e300},
        {"status": "failed", "reason": "error", "peak_memory_bytes": 2**63 - 1},
    ],
)
def test_what_a_worker_says_never_breaks_the_service(
    house: Running, worker: ScriptedWorker, message: dict[str, Any]
) -> None:
    house.started(worker)
    a = worker.take()
    worker.report(a, 1, 0.5)
    worker.finish(a, **message)
    assert house.trials()[0]["finished_at"]
    assert house.study()["counts"]["running"] == 0
    assert house.client.get("/metrics").status_code == 200
