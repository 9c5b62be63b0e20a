"""/v1/studies/{name}/trials: listed, read, added by users; their logs."""

import json
from typing import Any

import pytest

from tests.support.harness import Running, ScriptedWorker, held, paths, problem

OWN = {"learning_rate": 2e-4, "batch_size": 8, "epochs": 2, "freeze_depth": 6}


def test_a_trial_tells_what_it_did(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    a = worker.take()
    early = house.get("/v1/studies/s1/trials/0")
    assert early["state"] == "running"
    assert early["worker"] == "w1"
    assert early["attempt"] == 1
    assert early["started_at"]
    assert early["finished_at"] is None
    assert early["value"] is None
    assert early["values"] == []
    worker.report(a, 1, 0.8, peak_memory_bytes=2**40, examples_per_second=12.5)
    worker.report(a, 2, 0.7)
    worker.finish(a, seconds=4.5)
    trial = house.get("/v1/studies/s1/trials/0")
    assert trial["state"] == "complete"
    assert trial["finished_at"] > trial["started_at"]
    assert trial["value"] == 0.8, "the best evaluation counts"
    assert trial["values"] == [
        {"step": 1, "metrics": {"accuracy": 0.8, "loss": 0.1}},
        {"step": 2, "metrics": {"accuracy": 0.7, "loss": 0.1}},
    ]
    assert trial["seconds"] == 4.5
    assert trial["seed"] == a.seed
    assert trial["reason"] is None
    assert a.params.items() >= trial["params"].items()
    assert a.params["optimizer"] == "adamw"


def test_the_last_evaluation_counts_where_the_spec_says_so(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, objective={"metric": "accuracy", "measurement": "last"})
    a = worker.take()
    worker.report(a, 1, 0.8)
    worker.report(a, 2, 0.7)
    worker.finish(a)
    assert house.trials()[0]["value"] == 0.7


def test_a_loss_is_minimized(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, objective={"metric": "loss", "direction": "minimize"}, budget={"trials": 2})
    for loss in (0.3, 0.2):
        a = worker.take()
        worker.post("report", **held(a), step=1, metrics={"loss": loss})
        worker.finish(a)
    assert house.study()["best"]["trial"] == 1


def test_trials_are_paged_and_filtered(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 5})
    for _ in range(3):
        worker.train(worker.take())
    page = house.get("/v1/studies/s1/trials?limit=2")
    worker.train(worker.take())  # while somebody pages
    worker.take()
    numbers = [trial["number"] for trial in page["items"]]
    while page["next_cursor"]:
        page = house.get(f"/v1/studies/s1/trials?limit=2&cursor={page['next_cursor']}")
        numbers += [trial["number"] for trial in page["items"]]
    assert numbers == [0, 1, 2, 3, 4]
    running = house.get("/v1/studies/s1/trials?state=running")
    assert [trial["number"] for trial in running["items"]] == [4]
    assert running["next_cursor"] is None
    assert paths(house.client.get("/v1/studies/s1/trials?limit=0")) == {"limit"}
    assert paths(house.client.get("/v1/studies/s1/trials?state=lazy")) == {"state"}


def test_a_trial_that_is_not_there(house: Running) -> None:
    house.create()
    for number in (0, 99, 2**31, 2**70):
        response = house.client.get(f"/v1/studies/s1/trials/{number}")
        assert response.status_code in (404, 422), response.text
    problem(house.client.get("/v1/studies/s1/trials/one"), 422)
    problem(house.client.get("/v1/studies/s1/trials/0/logs"), 404)


def test_a_users_configuration_runs_next_and_counts(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 3})
    worker.train(worker.take())
    added = house.client.post("/v1/studies/s1/trials", json={"params": OWN})
    assert added.status_code == 201, added.text
    assert added.headers["location"] == "/v1/studies/s1/trials/1"
    assert added.json()["state"] == "queued"
    assert added.json()["params"] == OWN
    a = worker.take()
    assert a.number == 1
    assert a.params.items() >= OWN.items()
    worker.train(a)
    worker.drain()
    assert [trial["number"] for trial in house.trials()] == [0, 1, 2]
    assert [trial.params["learning_rate"] for trial in house.optuna()][1] == 2e-4
    assert "completed" in problem(house.client.post("/v1/studies/s1/trials", json={"params": OWN}), 409)["detail"]


def test_a_users_configuration_waits_for_a_place(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1)
    running = worker.take()
    assert house.client.post("/v1/studies/s1/trials", json={"params": OWN}).status_code == 201
    assert worker.claim() is None
    worker.train(running)
    assert worker.take().number == 1


def test_a_configuration_that_was_run_is_a_conflict(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    assert house.client.post("/v1/studies/s1/trials", json={"params": OWN}).status_code == 201
    assert "trial 1" in problem(house.client.post("/v1/studies/s1/trials", json={"params": OWN}), 409)["detail"]
    worker.drain()
    params = [json.dumps(trial["params"], sort_keys=True) for trial in house.trials()]
    assert len(set(params)) == len(params) == 4


def test_the_budget_holds_for_users_too(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 1})
    worker.take()
    assert "budget" in problem(house.client.post("/v1/studies/s1/trials", json={"params": OWN}), 409)["detail"]


def test_a_study_that_is_not_inspected_takes_no_trial(house: Running) -> None:
    house.create()
    assert "inspected" in problem(house.client.post("/v1/studies/s1/trials", json={"params": OWN}), 409)["detail"]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"learning_rate": 0.5}, "params.learning_rate"),
        ({"learning_rate": "fast"}, "params.learning_rate"),
        ({"batch_size": 9}, "params.batch_size"),
        ({"freeze_depth": 7}, "params.freeze_depth"),
        ({"epochs": 1.5}, "params.epochs"),
        ({"epochs": 10**400}, "params.epochs"),
        ({"magic": 1}, "params.magic"),
    ],
)
def test_a_configuration_outside_the_space_is_refused(inspected: Running, changes: dict[str, Any], path: str) -> None:
    content = json.dumps({"params": OWN | changes})
    headers = {"content-type": "application/json"}
    assert paths(inspected.client.post("/v1/studies/s1/trials", content=content, headers=headers)) == {path}
    assert inspected.trials() == []


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
def test_a_configuration_that_is_not_finite_is_refused(inspected: Running, number: str) -> None:
    content = json.dumps({"params": OWN | {"learning_rate": "HERE"}}).replace('"HERE"', number)
    headers = {"content-type": "application/json"}
    problem(inspected.client.post("/v1/studies/s1/trials", content=content, headers=headers), 422)


def test_a_configuration_must_be_whole(inspected: Running) -> None:
    response = inspected.client.post("/v1/studies/s1/trials", json={"params": {"learning_rate": 1e-4}})
    assert paths(response) == {"params.batch_size", "params.epochs", "params.freeze_depth"}
    assert paths(inspected.client.post("/v1/studies/s1/trials", json={})) == {"params"}
    problem(inspected.client.post("/v1/studies/s1/trials", content=b"{"), 422)


def test_logs_are_kept_in_the_order_they_came(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    a = worker.take()
    worker.post("renew", **held(a), log="loading\n")
    worker.report(a, 1, 0.5, log="step 1: Müller\x00 <b>")
    worker.finish(a, log="done\n")
    response = house.client.get("/v1/studies/s1/trials/0/logs")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == "loading\nstep 1: Müller\x00 <b>\ndone\n"
