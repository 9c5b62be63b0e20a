"""A study that begins with the best configurations of another one: which run first, what is told, what is refused."""

import signal
from typing import Any

import pytest

from luthier.studies.protocol import AssignmentKind
from tests.support import external
from tests.support.external_trainer import Trainer
from tests.support.harness import Running, ScriptedWorker, held, paths, problem, spec
from tests.support.killed_request import exit_code
from tests.support.nightly import Nightly, schedule, template

SPACE = spec()["space"]
WARM = {"study": "s1", "top": 2}


def ranked(house: Running, name: str = "s1") -> list[dict[str, Any]]:
    """Return the trials of a study that have a score, best first."""
    trials = [trial for trial in house.trials(name) if trial["state"] == "complete"]
    return sorted(trials, key=lambda trial: (-trial["value"], trial["number"]))


@pytest.mark.both_databases
def test_the_best_of_a_study_run_right_after_the_baseline_also_once_it_is_gone(
    house: Running, worker: ScriptedWorker
) -> None:
    house.finished(budget={"trials": 6}, parallel=1)
    best = [trial for trial in ranked(house) if trial["number"] != 0][:2]
    worker.score = lambda params, step: -abs(params["learning_rate"] - 1)  # another order than that of s1
    body = spec("s2", warm_start={"study": "s1", "top": 3}, budget={"trials": 5}, parallel=1, seed=9)
    made = house.client.post("/v1/studies", json=body)
    assert made.status_code == 201, made.text
    written = made.json()["spec"]["warm_start"]["trials"]
    assert [(one["trial"], one["value"]) for one in written] == [(t["number"], t["value"]) for t in ranked(house)[:3]]
    assert house.client.post("/v1/studies", json=body).status_code == 200, "the same spec is the same study"
    assert house.client.delete("/v1/studies/s1").status_code == 204
    assert house.client.post("/v1/studies", json=body).status_code == 200, "also without the other one"
    worker.drain()
    worker.drain()
    study, trials = house.study("s2"), house.trials("s2")
    assert (study["state"], len(trials)) == ("completed", 5)
    run = [item for item in study["taken_over"]["items"] if item["trial"] is not None]
    assert [trials[item["trial"]]["params"] for item in run][:2] == [trial["params"] for trial in best]
    assert [item["trial"] for item in sorted(run, key=lambda item: item["trial"])] == list(range(1, len(run) + 1))
    assert study["taken_over"]["study"] == "s1"
    assert [trial.params for trial in house.optuna("s2")] == [trial["params"] for trial in trials]
    again = house.client.post("/v1/studies", json=made.json()["spec"] | {"name": "s3"})
    assert again.status_code == 201, "a copy of what was answered needs no other study"


@pytest.mark.both_databases
@pytest.mark.full
def test_a_running_study_warms_another_one_whose_space_is_unlike(house: Running, worker: ScriptedWorker) -> None:
    """What is outside moves to the edge, what repeats is dropped and told, and the budget is not passed."""
    space = {**SPACE, "optimizer": ["adamw", "sgd"], "warmup_ratio": {"low": 0.0, "high": 0.2}}
    house.started(worker, budget={"trials": 9}, parallel=1, space=space)
    for _ in range(8):
        worker.train(worker.take())
    assert house.study()["state"] == "running"
    house.client.post("/v1/studies/s1/pause")
    narrow = {"learning_rate": {"low": 2e-5, "high": 3e-5, "log": True}, "batch_size": [16], "optimizer": ["adamw"]}
    house.started(worker, "s2", warm_start={"study": "s1", "top": 8}, space=narrow, budget={"trials": 3}, parallel=1)
    items = {item["from_trial"]: item for item in house.study("s2")["taken_over"]["items"]}
    assert len(items) == 8
    old = {trial["number"]: trial["params"] for trial in house.trials()}
    for number, item in items.items():
        if old[number]["optimizer"] == "sgd":
            assert (item["trial"], item["why"]) == (None, "optimizer sgd is not offered any more")
        elif item["trial"] is not None:
            assert "warmup_ratio is not searched any more" in item["why"]
    whys = " ".join(item["why"] for item in items.values())
    assert "its configuration is that of another trial" in whys
    assert "batch_size 8 became 16" in whys
    assert "the budget has no room for it" in whys
    worker.drain()
    worker.drain()
    assert [trial["state"] for trial in house.trials("s2")] == ["complete"] * 3


@pytest.mark.both_databases
@pytest.mark.full
def test_a_service_that_is_killed_between_its_first_trials_gives_the_same_study(
    house: Running, worker: ScriptedWorker, database_url: str
) -> None:
    house.finished(budget={"trials": 4}, parallel=1)
    changes = {"warm_start": WARM, "budget": {"trials": 6}, "parallel": 1}
    house.started(worker, "whole", **changes)
    worker.drain()
    worker.drain()
    create = ("POST", "/v1/studies", spec("s2", **changes))
    killed = "luthier.service.lifecycle.succession.keep_old_trials"
    assert exit_code(house.settings.home, database_url, killed, 0, *create) == -signal.SIGKILL
    assert house.client.get("/v1/studies/s2").status_code == 404, "whole or not at all"
    house.create("s2", **changes)
    inspection = worker.take(AssignmentKind.INSPECT)
    found = {"status": "complete", "inspection": worker.inspection.model_dump(mode="json")}
    finish = ("POST", "/v1/worker/finish", {**held(inspection), **found})
    for function in ("luthier.service.lifecycle.succession._write", "luthier.service.dispatch.search_repair.restore"):
        assert house.study("s2")["counts"]["queued"] == 0
        assert exit_code(house.settings.home, database_url, function, 0, *finish) == -signal.SIGKILL
    study = house.study("s2")
    assert study["counts"]["queued"] == 1 + study["taken_over"]["params"] > 1, "though Optuna knows none of them"
    house.move_clock(100)  # the turn of the service that died is over
    worker.drain()
    worker.drain()
    one, other = house.trials("whole"), house.trials("s2")
    assert [trial["params"] for trial in one] == [trial["params"] for trial in other]
    assert house.study("whole")["taken_over"] == house.study("s2")["taken_over"]


def test_what_cannot_warm_is_refused_with_the_cure(house_sqlite: Running) -> None:
    house, worker = house_sqlite, house_sqlite.worker()
    house.started(worker, "other", space={"epochs": [1, 2], "learning_rate": 1e-4}, budget={"trials": 2}, parallel=1)
    worker.train(worker.take())
    house.client.post("/v1/studies/other/stop")
    house.started(worker, "tags", task="token-classification")
    house.started(worker, "untried")
    house.create("new")

    def refused(study: str, **changes: Any) -> str:
        response = house.client.post("/v1/studies", json=spec("s9", warm_start={"study": study}, **changes))
        assert paths(response) == {"warm_start.study"}
        return str(problem(response, 422)["detail"])

    assert "Name a study of this project (`luthier list`)" in refused("nowhere")
    assert "has not come to its first trial" in refused("new")
    assert "has no complete trial yet" in refused("untried")
    assert "tags does another task (token-classification)" in refused("tags")
    space = {name: d for name, d in SPACE.items() if name != "epochs"}
    assert "other searched epochs" in refused("other", space=space)
    house.client.post("/v1/studies/new/cancel")
    assert house.client.post("/v1/plan", json=spec(warm_start={"study": "nowhere"})).status_code == 422
    both = spec("s9", warm_start=WARM, **{"from": {"study": "new"}})
    assert paths(house.client.post("/v1/studies", json=both)) == {"warm_start"}
    wrong = spec("s9", warm_start={"study": "s1", "trials": [{"params": {"learning_rat": 1}}]})
    assert paths(house.client.post("/v1/studies", json=wrong)) == {"warm_start.trials.0.params.learning_rat"}
    for top in (0, 51, 1.5, True):
        body = spec("s9", warm_start={"study": "other", "top": top})
        assert paths(house.client.post("/v1/studies", json=body)) == {"warm_start.top"}


@pytest.mark.full
def test_a_schedule_keeps_the_configurations_that_its_runs_begin_with(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 4}, parallel=1)
    study = template(parallel=1) | {"budget": {"trials": 4}, "warm_start": WARM}
    body = schedule(study=study, promote={"seeds": 0})
    nightly = Nightly(house, worker, study=study, promote={"seeds": 0})
    written = nightly.view()["spec"]["study"]["warm_start"]["trials"]
    assert [one["trial"] for one in written] == [trial["number"] for trial in ranked(house)[:2]]
    assert house.client.delete("/v1/studies/s1").status_code == 204
    assert house.client.post("/v1/schedules", json=body).status_code == 200, "the same document is the same schedule"
    changed = house.client.patch("/v1/schedules/nightly", json={"study": study | {"seed": 3}})
    assert changed.json()["spec"]["study"]["warm_start"]["trials"] == written, "also where another key changes"
    name = nightly.run("a")["study"]
    taken = house.study(name)["taken_over"]
    assert (taken["study"], taken["params"] + taken["dropped"]) == ("s1", 2)
    gone = {"study": study | {"warm_start": {"study": "s1", "top": 1}}}
    assert paths(house.client.patch("/v1/schedules/nightly", json=gone)) == {"study.warm_start.study"}


@pytest.mark.full
def test_an_external_study_begins_with_the_best_of_another_one(house_sqlite: Running) -> None:
    house = house_sqlite
    Trainer(house, "one", parallel=1).run()
    space = external.SPACE | {"momentum": {"low": 0.0, "high": 0.3}, "extra": [1, 2]}
    two = external.document(name="two", warm_start={"study": "one", "top": 2}, budget={"trials": 9}, space=space)
    made = house.client.post("/v1/studies", json=two)
    assert made.status_code == 201, made.text
    best = ranked(house, "one")[:2]
    assert [one["params"] for one in made.json()["spec"]["warm_start"]["trials"]] == [trial["params"] for trial in best]
    taken = house.study("two")["taken_over"]
    assert taken["params"] >= 1
    assert house.trials("two")[1]["params"]["lr"] in [trial["params"]["lr"] for trial in best]
    assert all("extra is new: 1" in item["why"] for item in taken["items"] if item["trial"] is not None)
