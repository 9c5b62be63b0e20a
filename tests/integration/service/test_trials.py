"""/v1/studies/{name}/trials: listed, read, added by users; their logs."""

import json
import re
from typing import Any

import pytest

from luthier.service.lifecycle import study_rows
from tests.support.harness import Running, ScriptedWorker, held, paths, problem

pytestmark = pytest.mark.both_databases

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


def test_a_trial_tells_its_effective_batch_and_how_it_goes_through_the_model(
    house: Running, worker: ScriptedWorker
) -> None:
    house.started(worker, parallel=2)
    a, b = worker.take(), house.worker("w2").take()
    for number, assignment in ((0, a), (1, b)):
        early = house.get(f"/v1/studies/s1/trials/{number}")
        assert (early["effective_batch"], early["micro_batch"]) == (assignment.params["batch_size"], None)
    worker.report(a, 1, 0.8)
    worker.report(b, 1, 0.8, micro_batch=3)
    assert house.get("/v1/studies/s1/trials/0")["micro_batch"] == a.params["batch_size"]
    assert house.get("/v1/studies/s1/trials/1")["micro_batch"] == 3


def test_what_changes_nothing_in_a_trial_is_not_shown(house: Running, worker: ScriptedWorker) -> None:
    space = {"epochs": 2, "strategy": ["full", "lora"], "lora_rank": {"low": 2, "high": 64}}
    house.started(worker, space=space, budget={"trials": 4})
    for params in ({"strategy": "lora", "lora_rank": 4}, {"strategy": "full"}):
        answer = house.client.post("/v1/studies/s1/trials", json={"params": params})
        assert answer.status_code == (201 if params["strategy"] == "lora" else 409), "the baseline is that one already"
    shown = [trial["params"] for trial in house.trials()]
    assert shown == [{"epochs": 2, "strategy": "full"}, {"epochs": 2, "strategy": "lora", "lora_rank": 4}]
    a, b = worker.take(), worker.take()
    assert (a.params["lora_rank"], b.params["lora_rank"]) == (8, 4)


def test_the_last_evaluation_counts_where_the_spec_says_so(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, objective={"metric": "accuracy", "measurement": "last"})
    a = worker.take()
    worker.report(a, 1, 0.8)
    worker.report(a, 2, 0.7)
    worker.finish(a)
    assert house.trials()[0]["value"] == 0.7


@pytest.mark.full
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


def test_a_score_can_be_asked_for_again_by_its_seed(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 6})
    worker.train(worker.take())
    (baseline,) = house.trials()
    again = {"params": baseline["params"], "seed": baseline["seed"]}
    assert (
        "with a seed"
        in problem(house.client.post("/v1/studies/s1/trials", json={"params": again["params"]}), 409)["detail"]
    )
    for number in (1, 2):
        added = house.client.post("/v1/studies/s1/trials", json=again)
        assert added.status_code == 201, added.text
        assert (added.json()["number"], added.json()["seed"]) == (number, baseline["seed"])
        a = worker.take()
        assert (a.number, a.seed, a.params["epochs"]) == (number, baseline["seed"], baseline["params"]["epochs"])
        worker.train(a)
    other = house.client.post("/v1/studies/s1/trials", json=again | {"seed": 2**32 - 1})
    assert other.json()["seed"] == 2**32 - 1
    worker.drain()
    assert house.study()["state"] == "completed"
    assert [trial["number"] for trial in house.trials()] == list(range(6))
    assert len({json.dumps(trial["params"], sort_keys=True) for trial in house.trials()}) == 3


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_the_sampler_draws_what_a_configuration_leaves_out(
    house: Running, worker: ScriptedWorker, sampler: str
) -> None:
    space = {"learning_rate": [1e-5, 1e-4, 1e-3], "batch_size": [4, 8], "epochs": 2}
    house.started(worker, parallel=1, budget={"trials": 8}, space=space, sampler={"name": sampler})
    worker.train(worker.take())
    for number in (1, 2, 3):
        added = house.client.post("/v1/studies/s1/trials", json={"params": {"batch_size": 4}})
        assert added.status_code == 201, added.text
        params = added.json()["params"]
        assert params["batch_size"] == 4
        assert params["learning_rate"] in space["learning_rate"]
        a = worker.take()
        assert (a.number, a.params["batch_size"]) == (number, 4)
        worker.train(a)
    assert len({trial["params"]["learning_rate"] for trial in house.trials()[1:]}) == 3, "none is drawn twice"
    refused = house.client.post("/v1/studies/s1/trials", json={"params": {"batch_size": 4}})
    assert "already" in problem(refused, 409)["detail"], "no other is left"
    wrong = house.client.post("/v1/studies/s1/trials", json={"params": {"batch_size": 5}})
    assert paths(wrong) == {"params.batch_size"}


def test_a_name_that_is_nearly_a_studys_is_told(inspected: Running) -> None:
    inspected.create(name="sentiment-of-films")
    for path in ("/v1/studies/sentimant-of-films", "/v1/studies/sentiment-of-film/trials"):
        detail = problem(inspected.client.get(path), 404)["detail"]
        assert detail.endswith("Did you mean sentiment-of-films?")
    assert "Did you mean" not in problem(inspected.client.get("/v1/studies/xyzzy"), 404)["detail"]


def cut_off(house: Running, params: dict[str, Any]) -> None:
    """Leave a request as a kill between its two writes does: Optuna has the trial, our rows lack it."""
    with house.core.database.reading() as session:
        study = study_rows.find(session, "s1")
    house.core.searches.get(study).enqueue(1, params, 77)
    house.core.searches.close()


@pytest.mark.full
@pytest.mark.parametrize("is_cut_off", [True, False])
def test_a_seed_outlives_a_service_that_is_killed(house: Running, worker: ScriptedWorker, is_cut_off: bool) -> None:
    house.started(worker, parallel=1, budget={"trials": 6})
    worker.train(worker.take())
    if is_cut_off:
        cut_off(house, dict(OWN))
        assert len(house.trials()) == 1
    else:
        house.client.post("/v1/studies/s1/trials", json={"params": OWN, "seed": 77})
        house.core.searches.close()
    a = worker.take()
    assert (a.number, a.seed) == (1, 77)
    assert a.params.items() >= OWN.items()
    worker.finish(a, "released")
    assert worker.take().seed == 77, "the next attempt has it too"


@pytest.mark.parametrize("params", [OWN, {"learning_rate": 2e-4}, {}])
def test_a_request_that_was_cut_off_is_not_added_twice_when_it_is_repeated(
    house: Running, worker: ScriptedWorker, params: dict[str, Any]
) -> None:
    house.started(worker, parallel=1, budget={"trials": 6})
    worker.train(worker.take())
    cut_off(house, dict(OWN))
    added = house.client.post("/v1/studies/s1/trials", json={"params": params, "seed": 77})
    assert added.status_code == 201, added.text
    assert (added.json()["number"], added.json()["seed"], added.json()["params"]) == (1, 77, OWN)
    assert len(house.optuna()) == 2


@pytest.mark.parametrize(("params", "seed"), [({"learning_rate": 2e-4}, 78), ({"epochs": 1}, 77)])
def test_another_request_than_the_one_that_was_cut_off_is_added_after_it(
    house: Running, worker: ScriptedWorker, params: dict[str, Any], seed: int
) -> None:
    house.started(worker, parallel=1, budget={"trials": 6})
    worker.train(worker.take())
    cut_off(house, dict(OWN))
    added = house.client.post("/v1/studies/s1/trials", json={"params": params, "seed": seed})
    assert (added.json()["number"], added.json()["seed"]) == (2, seed)
    assert added.json()["params"].items() >= params.items()


@pytest.mark.parametrize("seed", [True, "7", 7.0, 7.5, -1, 2**32, 10**400, [7], {}])
def test_a_seed_is_a_whole_number_of_32_bits(inspected: Running, seed: Any) -> None:
    content = json.dumps({"params": OWN, "seed": seed})
    headers = {"content-type": "application/json"}
    body = problem(inspected.client.post("/v1/studies/s1/trials", content=content, headers=headers), 422)
    (error,) = body["errors"]
    assert error["path"] == "seed"
    assert error["message"].startswith(("must be a whole number from 0 to 4294967295", "must be"))


BODIES: list[tuple[str, str, str]] = [
    ("null", "", "is null"),
    ("", "", "the body is missing; send an object"),
    ("[]", "", "is a list"),
    ('"params"', "", "is a single value"),
    ("{}", "params", "is missing"),
    ('{"params": null}', "params", "must be a mapping of keys to values, and is null"),
    ('{"params": []}', "params", "must be a mapping"),
    ('{"params": {"learning_rate": null}}', "params.learning_rate", "must be a number"),
    ('{"params": {"learning_rate": [1e-4]}}', "params.learning_rate", "must be a number"),
    ('{"params": {"batch_size": {}}}', "params.batch_size", "must be a whole number"),
    ('{"params": {}, "params": {}}', "params", "is given twice; leave one of the two out"),
    ('{"params": {"epochs": 1, "epochs": 2}}', "params.epochs", "is given twice"),
    ('{"params": {"learning_rate": NaN}}', "params.learning_rate", "must be a finite number"),
    ('{"params": {"learning_rate": 1e-4', "", "send all of it"),
    ('{"params": {"learning_rate": 1e-4}, "sed": 1}', "sed", "unknown key"),
    (r'{"params": {"\ud83d": 1}}', "params", "surrogate"),
]


@pytest.mark.parametrize(("content", "path", "words"), BODIES, ids=lambda value: str(value)[:40])
def test_a_body_that_is_wrong_gets_a_sentence(inspected: Running, content: str, path: str, words: str) -> None:
    headers = {"content-type": "application/json"}
    body = problem(inspected.client.post("/v1/studies/s1/trials", content=content.encode(), headers=headers), 422)
    found = {error["path"]: error["message"] for error in body["errors"]}
    assert words in found[path]
    for text in (body["detail"], *found.values()):
        assert not re.search("dict|Input should|Field required|NoneType|object to extract", text), text


def test_a_body_with_a_mark_of_utf_8_is_read_and_one_without_its_type_says_so(
    house: Running, worker: ScriptedWorker
) -> None:
    house.started(worker)
    content = b"\xef\xbb\xbf" + json.dumps({"params": OWN}).encode()
    post = house.client.post
    assert post("/v1/studies/s1/trials", content=content, headers={"content-type": "application/json"}).is_success
    body = problem(post("/v1/studies/s1/trials", content=content), 422)
    assert "Content-Type: application/json" in body["detail"]


@pytest.mark.parametrize("route", ["claim", "report", "renew", "finish"])
@pytest.mark.parametrize(
    ("content", "path", "words"),
    [
        ("null", "", "is null"),
        ("[]", "", "is a list"),
        ('{"worker": "w1"', "", "send all of it"),
        ('{"worker": "w1", "worker": "w2"}', "worker", "is given twice"),
        ('{"gpu": {"id": "a", "id": "b"}}', "gpu.id", "is given twice"),
        ('{"seconds": NaN}', "seconds", "must be a finite number"),
    ],
)
def test_the_worker_protocol_reads_bodies_as_strictly(
    house_sqlite: Running, route: str, content: str, path: str, words: str
) -> None:
    headers = {"content-type": "application/json"}
    body = problem(house_sqlite.client.post(f"/v1/worker/{route}", content=content, headers=headers), 422)
    assert [words in error["message"] for error in body["errors"] if error["path"] == path] == [True]


@pytest.mark.parametrize(
    ("method", "route"),
    [("POST", "studies"), ("POST", "studies:plan"), ("POST", "schedules"), ("PATCH", "schedules/nightly")],
)
@pytest.mark.parametrize(
    ("content", "path", "words"),
    [
        ("null", "", "null"),
        ("[]", "", "is a list"),
        ('{"name": "x", "cron":', "", "send all of it"),
        ('{"study": {"budget": {"trials": 1, "trials": 2}}}', "study.budget.trials", "is given twice"),
        ('{"study": {"budget": {"trials": NaN}}}', "study.budget.trials", "must be a finite number"),
    ],
)
def test_documents_are_read_as_strictly(
    house_sqlite: Running, method: str, route: str, content: str, path: str, words: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = house_sqlite.client.request(method, f"/v1/{route}", content=content, headers=headers)
    body = problem(answer, 422)
    assert words in body["detail"]
    assert path == "" or path in {error["path"] for error in body["errors"]}


def test_the_budget_holds_for_users_too(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 1})
    worker.take()
    assert "budget" in problem(house.client.post("/v1/studies/s1/trials", json={"params": OWN}), 409)["detail"]


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


def test_a_body_without_a_configuration_is_refused(inspected: Running) -> None:
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
