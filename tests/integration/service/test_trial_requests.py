"""Requests for trials: an Idempotency-Key, and configurations that are added before the study is inspected."""

from typing import Any

import pytest

from luthier.service.dispatch import waiting_trials
from luthier.service.dispatch.requests import Request
from luthier.service.lifecycle import study_rows
from luthier.studies.protocol import AssignmentKind
from tests.support.harness import Running, ScriptedWorker, paths, problem, spec

pytestmark = pytest.mark.both_databases
TRIALS = "/v1/studies/s1/trials"
OWN = {"learning_rate": 2e-4, "batch_size": 8, "epochs": 2, "freeze_depth": 6}


def add(house: Running, status: int = 201, key: str | None = None, seed: int | None = None, **params: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    body = {"params": params} | ({} if seed is None else {"seed": seed})
    response = house.client.post(TRIALS, json=body, headers=headers)
    assert response.status_code == status, response.text
    return response.json()


def test_the_same_key_answers_the_same_trial(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 6})
    first = add(house, key="a", batch_size=8)
    assert add(house, 200, key='"a"', batch_size=8) == first, "with quotes it is the same key"
    assert add(house, key="b", batch_size=8)["number"] == first["number"] + 1, "another key, another trial"
    worker.drain()
    ended = add(house, 200, key="a", batch_size=8)
    assert (ended["number"], ended["state"]) == (first["number"], "complete"), "also after the study has ended"
    assert house.study()["state"] == "completed"


def test_a_key_is_for_one_body(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 6})
    first = add(house, key="a", seed=7, **OWN)
    for other in ({"seed": 8, **OWN}, OWN, {"seed": 7, **OWN, "epochs": 1}):
        assert "another body" in add(house, 422, key="a", **other)["detail"]
    assert house.client.delete(f"{TRIALS}/{first['number']}").status_code == 204
    assert "deleted" in add(house, 409, key="a", seed=7, **OWN)["detail"]


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, "\x7f"])
def test_a_key_that_is_none_is_refused(inspected: Running, key: str) -> None:
    response = inspected.client.post(TRIALS, json={"params": OWN}, headers={"Idempotency-Key": key})
    assert paths(response) == {"Idempotency-Key"}
    assert inspected.trials() == []


@pytest.mark.full
def test_a_key_outlives_a_service_that_is_killed(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 6})
    worker.train(worker.take())
    with house.core.database.reading() as session:
        study = study_rows.find(session, "s1")
    request = Request(dict(OWN), None, "a")
    house.core.searches.get(study).enqueue(1, dict(OWN), None, request.notes)  # killed before our rows had it
    house.core.searches.close()
    assert add(house, key="a", **OWN)["number"] == 1, "the same request completes it"
    assert add(house, 200, key="a", **OWN)["number"] == 1
    assert len(house.optuna()) == len(house.trials()) == 2


def test_what_is_added_before_the_inspection_runs_right_after_the_baseline(
    house: Running, worker: ScriptedWorker
) -> None:
    house.create(parallel=1, budget={"trials": 5})
    whole, part = add(house, seed=7, **OWN), add(house, key="k", batch_size=32)
    assert (whole["number"], whole["state"], whole["params"], whole["seed"]) == (1, "queued", OWN, 7)
    assert (part["number"], part["params"]) == (2, {"batch_size": 32})
    assert add(house, 200, key="k", batch_size=32)["number"] == 2
    assert "another body" in add(house, 422, key="k", batch_size=16)["detail"]
    assert [trial["number"] for trial in house.trials()] == [1, 2]
    assert house.get(f"{TRIALS}?sort=-number&limit=1")["items"][0]["number"] == 2
    assert house.study()["counts"]["queued"] == 2
    assert house.get(f"{TRIALS}/2")["params"] == {"batch_size": 32}
    assert house.client.get(f"{TRIALS}/2/logs").text == ""
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    a = worker.take()
    assert (a.number, house.study()["counts"]["queued"]) == (0, 2)
    worker.train(a)
    b = worker.take()
    assert (b.number, b.seed) == (1, 7)
    assert b.params.items() >= OWN.items()
    worker.train(b)
    c = worker.take()
    assert (c.number, c.params["batch_size"]) == (2, 32)
    assert add(house, 200, key="k", batch_size=32)["params"]["batch_size"] == 32
    worker.train(c)
    worker.drain()
    assert [trial["number"] for trial in house.trials()] == list(range(5)) == [t.number for t in house.optuna()]


def test_what_the_inspection_shows_to_be_impossible_fails_with_a_sentence(
    house: Running, worker: ScriptedWorker
) -> None:
    house.create(parallel=1, budget={"trials": 4})
    for params in (OWN | {"freeze_depth": 9}, {"freeze_depth": 3}):
        add(house, **params)
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    worker.train(worker.take())
    impossible = house.get(f"{TRIALS}/1")
    assert (impossible["state"], impossible["reason"], impossible["attempt"]) == ("failed", "bad_data", 0)
    assert "params.freeze_depth: must lie in the study's space" in impossible["error"]
    assert '"freeze_depth": 9' in impossible["error"]
    assert worker.take().params["freeze_depth"] == 3
    house.reap()
    assert house.optuna()[1].state.name == "FAIL"


@pytest.mark.full
def test_a_configuration_that_turns_out_to_be_the_baseline_says_so(house: Running, worker: ScriptedWorker) -> None:
    space = {"learning_rate": [1e-5, 2e-5, 1e-3], "epochs": 2, "freeze_depth": {"low": 0, "high": "auto"}}
    house.create(parallel=1, budget={"trials": 6}, space=space)
    body = {"learning_rate": 2e-5, "freeze_depth": 0}
    for value in (1e-5, 2e-5, 1e-3):
        add(house, **body | {"learning_rate": value})
    assert "as trial 2 of s1 already" in add(house, 409, **body)["detail"]
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    worker.train(worker.take())
    same = [trial for trial in house.trials() if trial["state"] == "failed"]
    assert len(same) == 1
    assert "trial 0 already" in same[0]["error"]


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"learning_rate": 0.5}, "params.learning_rate"),
        ({"freeze_depth": -1}, "params.freeze_depth"),
        ({"freeze_depth": "auto"}, "params.freeze_depth"),
        ({"max_length": "long"}, "params.max_length"),
        ({"magic": 1}, "params.magic"),
    ],
)
def test_what_no_inspection_can_make_right_is_refused_at_once(
    house_sqlite: Running, params: dict[str, Any], path: str
) -> None:
    house = house_sqlite
    house.client.post("/v1/studies", json=spec("early"))
    answer = house.client.post("/v1/studies/early/trials", json={"params": params})
    assert paths(answer) == {path}
    assert house.trials("early") == []


def test_more_than_the_budget_has_can_wait_once_it_is_raised(house: Running) -> None:
    house.create(budget={"trials": 2})
    add(house, batch_size=8)
    assert "(POST /v1/studies/s1/extend)" in add(house, 409, batch_size=16)["detail"]
    assert house.client.post("/v1/studies/s1/extend", json={"budget": {"trials": 3}}).status_code == 200
    assert add(house, batch_size=16)["number"] == 2


def test_a_waiting_trial_is_stopped_or_deleted_and_keeps_its_number(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 5}, parallel=1)
    body = {"learning_rate": 1e-5, "epochs": 1, "freeze_depth": 0}
    for size in (8, 16, 32):
        add(house, key=str(size), batch_size=size, **body)
    assert house.client.delete(f"{TRIALS}/1").status_code == 204
    stopped = house.client.post(f"{TRIALS}/2/stop")
    assert (stopped.json()["state"], stopped.json()["reason"]) == ("cancelled", "stopped")
    assert "already" in problem(house.client.post(f"{TRIALS}/2/stop"), 409)["detail"]
    assert "stopped or deleted" in problem(house.client.post(f"{TRIALS}/3/retry"), 409)["detail"]
    for path, method in ((f"{TRIALS}/1", "GET"), (f"{TRIALS}/1/logs", "GET"), (f"{TRIALS}/1", "DELETE")):
        assert "it was deleted" in problem(house.client.request(method, path), 404)["detail"]
    assert "take a new key" in add(house, 409, key="8", batch_size=8, **body)["detail"]
    assert [(trial["number"], trial["state"]) for trial in house.trials()] == [(2, "cancelled"), (3, "queued")]
    counts = house.study()["counts"]
    assert (counts["queued"], counts["cancelled"]) == (1, 1)
    again = add(house, batch_size=8, **body)
    assert again["number"] == 4, "a number that was told is not given again"
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    worker.drain()
    states = {trial["number"]: trial["state"] for trial in house.trials()}
    assert states == {0: "complete", 2: "cancelled", 3: "complete", 4: "complete", 5: "complete"}
    assert house.get(f"{TRIALS}/4")["params"]["batch_size"] == 8, "a deleted configuration is free"
    assert house.study()["state"] == "completed"
    assert [trial.number for trial in house.optuna()] == list(range(6))
    assert [house.optuna()[n].state.name for n in (1, 2)] == ["FAIL", "FAIL"]


def test_one_that_is_deleted_while_the_baseline_is_drawn_runs_no_more(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.create(budget={"trials": 3}, parallel=1)
    add(house, batch_size=8)
    draw = waiting_trials.draw

    def slow(*arguments: Any) -> Any:
        assert house.client.delete(f"{TRIALS}/1").status_code == 204
        return draw(*arguments)

    monkeypatch.setattr(waiting_trials, "draw", slow)
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    worker.train(worker.take())
    monkeypatch.undo()
    worker.drain()
    assert [trial["number"] for trial in house.trials()] == [0, 2, 3]


def test_what_waits_ends_with_its_study(house: Running) -> None:
    house.create(budget={"trials": 3})
    add(house, **OWN)
    add(house, batch_size=8)
    assert "budget" in add(house, 409, batch_size=16)["detail"]
    assert house.client.delete(f"{TRIALS}/2").status_code == 204
    assert add(house, batch_size=16)["number"] == 3, "the place of a deleted one is free"
    assert house.client.post("/v1/studies/s1/cancel").status_code == 200
    assert house.get(f"{TRIALS}/1")["state"] == "cancelled"
    assert house.study()["counts"]["cancelled"] == 2
    assert house.client.delete(f"{TRIALS}/1").status_code == 204
    assert house.study()["counts"]["cancelled"] == 1
    assert house.client.delete("/v1/studies/s1").status_code == 204
