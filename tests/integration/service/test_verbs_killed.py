"""What users ask of one trial is done whole or not at all when a service is killed in its middle, or two are asked."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.service.storage.turns import TURN_SECONDS
from tests.support.harness import Running, ScriptedWorker, running
from tests.support.killed_verb import exit_code_of

pytestmark = pytest.mark.both_databases
TRIALS = "/v1/studies/s1/trials"
OWN = {"learning_rate": 2e-4, "batch_size": 8, "epochs": 2, "freeze_depth": 6}


def kill(house: Running, place: str, verb: str, *arguments: Any) -> None:
    """Have another service on the same database killed in the middle of a verb; its turn runs out."""
    settings = house.settings
    assert exit_code_of(settings.home, settings.sqlalchemy_url, place, verb, *arguments) == -signal.SIGKILL
    house.core.searches.heartbeat()
    house.move_clock(TURN_SECONDS + 1)


@pytest.fixture
def study(house: Running, worker: ScriptedWorker) -> ScriptedWorker:
    """Trial 0 is complete, trial 1 failed, trial 2 was given back after an evaluation."""
    house.started(worker, parallel=1, budget={"trials": 8})
    worker.train(worker.take())
    worker.finish(worker.take(), "failed", reason="error")
    a = worker.take()
    worker.train(a, steps=1)
    worker.finish(a, "released")
    return worker


def check_dense(house: Running, count: int) -> None:
    """Check that Optuna and our rows have the same trials, whose lists show all but the deleted ones."""
    house.reap()
    assert [trial.number for trial in house.optuna()] == list(range(count))


@pytest.mark.full
@pytest.mark.parametrize("place", ["before our rows", pytest.param("before Optuna", marks=pytest.mark.full)])
def test_a_request_that_was_killed_is_added_once_when_it_is_sent_again(
    house: Running, study: ScriptedWorker, place: str
) -> None:
    kill(house, place, "enqueue", OWN, None, "key")
    assert len(house.trials()) == 3, "nothing half-done is shown"
    answer = house.client.post(TRIALS, json={"params": OWN}, headers={"Idempotency-Key": "key"})
    assert (answer.status_code, answer.json()["number"]) == (201, 3)
    assert house.client.post(TRIALS, json={"params": OWN}, headers={"Idempotency-Key": "key"}).status_code == 200
    check_dense(house, 4)


@pytest.mark.full
def test_a_killed_request_that_nobody_repeats_runs_with_what_was_asked(house: Running, study: ScriptedWorker) -> None:
    kill(house, "before our rows", "retry", 1)
    study.train(study.take())
    a = study.take()
    failed, again = house.get(f"{TRIALS}/1"), house.get(f"{TRIALS}/3")
    assert (a.number, a.seed, again["retry_of"]) == (3, failed["seed"], 1)
    assert again["params"] == failed["params"]
    assert house.client.post(f"{TRIALS}/1/retry").json()["number"] == 3


@pytest.mark.parametrize(
    ("place", "is_done"),
    [
        pytest.param("before the commit", False, marks=pytest.mark.full),
        pytest.param("before Optuna is told", True, marks=pytest.mark.full),
    ],
)
def test_a_stop_that_was_killed_is_whole_or_not_there(
    house: Running, study: ScriptedWorker, place: str, is_done: bool
) -> None:
    kill(house, place, "stop", 2)
    trial = house.get(f"{TRIALS}/2")
    assert trial["state"] == ("complete" if is_done else "queued")
    assert len(trial["values"]) == 1
    check_dense(house, 3)
    assert house.optuna()[2].state.name == ("COMPLETE" if is_done else "RUNNING")
    assert house.client.post(f"{TRIALS}/2/stop").status_code == (409 if is_done else 200)


@pytest.mark.full
@pytest.mark.parametrize(
    ("place", "is_done"),
    [
        ("before the files go", True),
        pytest.param("before the commit", False, marks=pytest.mark.full),
        pytest.param("before Optuna is told", True, marks=pytest.mark.full),
        pytest.param("before the search forgets", True, marks=pytest.mark.full),
    ],
)
def test_a_deletion_that_was_killed_is_whole_or_not_there(
    house: Running, study: ScriptedWorker, place: str, is_done: bool
) -> None:
    kill(house, place, "delete", 2)
    numbers = [trial["number"] for trial in house.trials()]
    assert numbers == ([0, 1] if is_done else [0, 1, 2])
    check_dense(house, 3)
    assert house.optuna()[2].state.name == ("FAIL" if is_done else "RUNNING")
    assert study.take().number == (3 if is_done else 2)


@pytest.mark.full
def test_two_services_that_are_asked_at_once_agree(
    house: Running, study: ScriptedWorker, database_url: str, tmp_path: Path
) -> None:
    with running(tmp_path / "home", database_url) as other, ThreadPoolExecutor(8) as threads:
        services = [house, other] * 4

        def ask(call: Any) -> list[httpx.Response]:
            return [future.result() for future in [threads.submit(call, service) for service in services]]

        headers = {"Idempotency-Key": "key"}
        added = ask(lambda s: s.anyone.post(TRIALS, json={"params": OWN}, headers=headers))
        assert {a.status_code for a in added} <= {200, 201, 503}, [a.text for a in added]
        assert {a.json()["number"] for a in added if a.is_success} == {3}
        retried = ask(lambda s: s.anyone.post(f"{TRIALS}/1/retry"))
        assert {a.json()["number"] for a in retried if a.is_success} == {4}
        deleted = ask(lambda s: s.anyone.delete(f"{TRIALS}/2"))
        assert sorted(a.status_code for a in deleted) == [204] + [404] * 7
        etag = {"If-Match": house.study()["etag"]}
        notes = iter(range(8))
        changed = ask(lambda s: s.anyone.patch("/v1/studies/s1", json={"notes": f"n{next(notes)}"}, headers=etag))
        assert sorted(a.status_code for a in changed) == [200] + [412] * 7
        assert [trial["number"] for trial in house.trials()] == [0, 1, 3, 4]
        check_dense(house, 5)
