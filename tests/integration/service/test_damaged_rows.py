"""Rows that hold what no version of the service should have stored: every list answers, and what is damaged ends."""

import json
import math
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.harness import Running, ScriptedWorker
from tests.support.tiers import a_few

LISTS = ("/v1/studies", "/v1/studies/s1", "/v1/studies/s1/trials", "/v1/studies/s1/trials/0", "/v1/workers", "/metrics")


def store(house: Running, table: str, where: str = "true", **columns: Any) -> None:
    """Write columns of a table's rows directly; most values are ones that no route would take."""
    changes = ", ".join(f"{name} = :{name}" for name in columns)
    with house.core.database.engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET {changes} WHERE {where}"), columns)


def lists_answer(house: Running) -> None:
    for path in LISTS:
        response = house.client.get(path)
        assert response.status_code == 200, f"{path}: {response.text}"
        assert len(response.content) < 100_000, f"{path}: {len(response.content)} bytes"


def acts(house: Running, *actions: str) -> None:
    for action in actions:
        response = house.client.post(f"/v1/studies/s1/{action}")
        assert response.status_code == 200, f"{action}: {response.text}"


def others_go_on(house: Running, worker: ScriptedWorker) -> None:
    """Run the study `healthy` to its end; what the damaged one hands out is held."""
    while house.study("healthy")["state"] != "completed":
        a = worker.claim()
        assert a is not None, house.study("healthy")
        if a.study == "healthy":
            worker.work(a)


HUGE = [
    {"seconds": 1.7e308},
    {"seconds": float("inf"), "seconds_before": float("inf")},
    {"seconds": float("nan"), "seconds_before": -1e300},
    {"value": 1e308, "examples_per_second": 1e308, "peak_memory_bytes": 2**63 - 1},
    {"value": float("inf"), "examples_per_second": float("nan")},
    {"value": float("nan")},
    {"error": "x" * 1_000_000, "worker": "w1"},
]


@pytest.mark.parametrize("columns", a_few(1, HUGE), ids=lambda columns: " ".join(columns))
def test_no_number_of_a_trial_fails_a_list_or_an_action(
    house: Running, worker: ScriptedWorker, columns: dict[str, Any]
) -> None:
    if house.core.database.sqlite:  # it stores NaN as NULL, and some columns take none
        columns = {name: value for name, value in columns.items() if not (name == "seconds" and math.isnan(value))}
    house.started(worker, budget={"trials": 9}, parallel=4, confirm={"candidates": 2, "seeds": 1})
    for a in (worker.take(), worker.take()):
        worker.train(a)
    held = worker.take()
    worker.finish(worker.take(), "released")
    if columns:
        store(house, "luthier_assignment", "kind = 'train'", **columns)
    lists_answer(house)
    acts(house, "pause", "resume")
    house.reap()
    given_back = worker.take()
    assert given_back.attempt == 2, "the one that was given back"
    worker.work(given_back)
    acts(house, "stop")
    worker.work(held)
    worker.drain()
    assert house.study()["state"] == "stopped"
    lists_answer(house)
    assert house.client.delete("/v1/studies/s1").status_code == 204


@pytest.mark.full
def test_scores_that_are_none_are_shown_as_none(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    worker.report(worker.take(), 1, 0.5)
    many = {f"m{i}": 0.5 for i in range(20_000)}
    store(house, "luthier_report", metrics=json.dumps({"accuracy": 1e308, "loss": "good"} | many))
    step = house.trials()[0]["values"][0]
    assert step["metrics"]["accuracy"] is None
    assert step["metrics"]["loss"] is None
    assert len(step["metrics"]) == 100
    lists_answer(house)
    acts(house, "cancel")


DAMAGED = [
    ("luthier_study", {"spec": "{broken"}),
    ("luthier_study", {"spec": '{"name": "s1", "of_a_newer_version": 1}'}),
    ("luthier_study", {"state": "sleeping"}),
    ("luthier_study", {"created_at": 1e300}),
    ("luthier_study", {"inspection": "[]"}),
    ("luthier_study", {"model": '{"name": "x"}'}),
    ("luthier_assignment", {"state": "sleeping"}),
    ("luthier_assignment", {"reason": "mood", "started_at": -1e300}),
    ("luthier_assignment", {"params": "[1, {}]"}),
    ("luthier_assignment", {"best": '{"name": "../x"}', "resume": "7", "comparison": "{"}),
]


@pytest.mark.parametrize(("table", "columns"), a_few(1, DAMAGED), ids=lambda value: str(value)[:40])
def test_a_damaged_row_is_shown_by_its_name_and_can_be_cancelled_and_deleted(
    house: Running, worker: ScriptedWorker, table: str, columns: dict[str, Any]
) -> None:
    house.started(worker, parallel=1)
    worker.train(worker.take())
    a = worker.take()
    worker.report(a, 1, 0.5)
    house.create("healthy")
    where = "name = 's1'" if table == "luthier_study" else "kind = 'train' AND number = 1"
    store(house, table, where, **columns)
    lists_answer(house)
    names = [study["name"] for study in house.get("/v1/studies")["items"]]
    assert names == ["healthy", "s1"]
    assert len(house.trials()) == 2
    house.reap()
    others_go_on(house, worker)
    acts(house, "cancel")
    lists_answer(house)
    assert house.client.delete("/v1/studies/s1").status_code == 204


@pytest.mark.parametrize(
    ("table", "columns"), a_few(1, DAMAGED[:2] + DAMAGED[-2:-1]), ids=lambda value: str(value)[:40]
)
def test_what_waits_with_a_damaged_row_is_handed_to_nobody(
    house: Running, worker: ScriptedWorker, table: str, columns: dict[str, Any]
) -> None:
    house.started(worker, parallel=1)
    worker.finish(worker.take(), "released")
    house.create("healthy")
    store(house, table, "kind = 'train'" if table == "luthier_assignment" else "name = 's1'", **columns)
    house.reap()
    others_go_on(house, worker)
    acts(house, "cancel")
    assert house.client.delete("/v1/studies/s1").status_code == 204


def test_json_that_ends_in_the_middle_fails_no_list(house_sqlite: Running) -> None:
    """Postgres stores none; a file of SQLite takes any text."""
    house, worker = house_sqlite, house_sqlite.worker()
    house.started(worker)
    worker.report(worker.take(), 1, 0.5)
    store(house, "luthier_report", metrics='{"accuracy": ')
    store(house, "luthier_assignment", "kind = 'train'", params='{"learning_rate": ')
    lists_answer(house)
    assert "cannot be shown whole" in house.trials()[0]["error"]
    acts(house, "cancel")
    assert house.client.delete("/v1/studies/s1").status_code == 204


def test_a_damaged_spec_is_named_and_shown_as_it_is_stored(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    store(house, "luthier_study", spec='{"name": "s1", "of_a_newer_version": 1}')
    study = house.study()
    assert study["spec"] == {"name": "s1", "of_a_newer_version": 1}
    assert "of_a_newer_version" in study["error"]
    refused = house.client.post("/v1/studies", json={"name": "s1"} | {"task": "text-classification"})
    assert refused.status_code in (409, 422)


@pytest.mark.full
def test_damaged_schedules_and_runs_are_shown_by_their_names(nightly: Any, house: Running) -> None:
    it = nightly()
    it.run("a")
    store(house, "luthier_run", state="sleeping", due_at=1e300, judgement="{}")
    runs = house.get("/v1/schedules/nightly/runs")["items"]
    assert runs[0]["state"] == "failed"
    assert "cannot be shown" in runs[0]["message"]
    store(house, "luthier_schedule", spec="{}", created_at=-1e300)
    schedules = house.get("/v1/schedules")["items"]
    assert (schedules[0]["name"], schedules[0]["spec"]) == ("nightly", {})
    assert "cannot be shown" in schedules[0]["error"]
    for page in ("/schedules", "/schedules/nightly"):
        assert house.client.get(page).status_code == 200, page
    assert house.client.delete("/v1/schedules/nightly").status_code == 204


def test_a_worker_of_another_time_is_listed(house: Running, worker: ScriptedWorker) -> None:
    assert worker.claim() is None
    store(house, "luthier_worker", seen_at=1e300)
    assert house.get("/v1/workers")["items"][0]["name"] == "w1"


def test_a_trial_that_an_older_service_let_run_for_ever_goes_on(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 3, "gpu_seconds": 10_000}, parallel=1)
    worker.train(worker.take())
    worker.report(worker.take(), 1, 0.1)
    store(house, "luthier_assignment", "kind = 'train'", seconds=1.7e308, seconds_before=1.7e308)
    house.move_clock(31)
    house.reap()
    worker.drain()
    study = house.study()
    assert study["state"] == "completed"
    assert study["counts"]["complete"] == 3
    assert study["gpu_seconds"] < 200


def test_a_study_whose_winner_is_gone_can_be_cancelled(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    worker.train(worker.take())
    held = worker.take()
    store(house, "luthier_study", winner=999)
    worker.train(held)
    acts(house, "cancel")
    assert house.client.delete("/v1/studies/s1").status_code == 204


@pytest.mark.full
def test_json_nested_too_deep_fails_no_list(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    worker.train(worker.take())
    store(house, "luthier_assignment", "kind = 'train'", params="[" * 3000 + "]" * 3000)
    lists_answer(house)
    acts(house, "cancel")
    assert house.client.delete("/v1/studies/s1").status_code == 204
