"""Killed at any moment, a study reaches exactly its budget, and its scores are those of an undisturbed one."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.external_workers import external_worker
from tests.support.harness import optuna_trials
from tests.support.served import Served, spec
from tests.support.waiting import until

Serve = Callable[..., Served]


def worker_of(served: Served) -> int:
    return next(pid for pid, line in served.processes() if "-m luthier.trials " in line)


def child_of(served: Served) -> int:
    return next(pid for pid, line in served.processes() if "-m luthier.trials.child " in line)


def in_flight(served: Served, name: str, number: int) -> bool:
    """Whether the trial runs and has been evaluated, but not to its end."""
    trials = served.trials(name)
    return len(trials) > number and trials[number]["state"] == "running" and 1 <= len(trials[number]["values"]) < 5


def scores(trials: list[dict[str, Any]]) -> list[Any]:
    return [(trial["params"], trial["value"], trial["values"]) for trial in trials]


def document(tiny: Path) -> dict[str, Any]:
    """Its trials last long enough to be disturbed while they run, also on a machine that trains fast."""
    changed = spec(tiny, "faults", budget={"trials": 3})
    changed["space"] |= {"batch_size": 4, "freeze_depth": [0, 1]}
    return changed


@pytest.fixture(scope="module")
def undisturbed(shared: Served, tiny: Path) -> list[Any]:
    shared.client.post("/v1/studies", json=document(tiny)).raise_for_status()
    assert shared.ended("faults")["state"] == "completed"
    found = optuna_trials(f"sqlite:///{shared.environment['LUTHIER_HOME']}/luthier.db", "faults")
    return [(trial.params, trial.value, trial.intermediate_values) for trial in found]


def test_a_killed_child_costs_nothing_that_was_evaluated(serve: Serve, tiny: Path) -> None:
    served = serve()
    served.client.post("/v1/studies", json=document(tiny) | {"budget": {"trials": 1}}).raise_for_status()
    until(lambda: in_flight(served, "faults", 0), 60)
    os.kill(child_of(served), signal.SIGKILL)
    assert served.ended("faults")["state"] == "completed"
    (trial,) = served.trials("faults")
    assert (trial["state"], trial["attempt"]) == ("complete", 2)
    assert [value["step"] for value in trial["values"]] == [1, 2, 3, 4, 5, 6]
    assert "goes on after evaluation" in served.client.get("/v1/studies/faults/trials/0/logs").text


@pytest.mark.timeout(240)
@pytest.mark.parametrize("empty_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.wide)], indirect=True)
def test_killed_child_worker_and_service(serve: Serve, tiny: Path, empty_url: str, undisturbed: list[Any]) -> None:
    served = serve(LUTHIER_DATABASE_URL=empty_url)
    served.client.post("/v1/studies", json=document(tiny)).raise_for_status()

    until(lambda: in_flight(served, "faults", 0), 60)
    os.kill(child_of(served), signal.SIGKILL)
    until(lambda: in_flight(served, "faults", 1), 60)
    os.kill(worker_of(served), signal.SIGKILL)
    until(lambda: in_flight(served, "faults", 2), 60)
    below = served.processes()
    served.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid, _ in below), 10)
    served.start()
    study = served.ended("faults")

    assert study["state"] == "completed"
    assert study["error"] is None
    assert {state: count for state, count in study["counts"].items() if count} == {"complete": 3}
    trials = served.trials("faults")
    assert [trial["attempt"] for trial in trials] == [2, 2, 2]
    for trial in trials:
        assert [value["step"] for value in trial["values"]] == [1, 2, 3, 4, 5, 6]
    logs = [served.client.get(f"/v1/studies/faults/trials/{n}/logs").text for n in range(3)]
    assert all("goes on after evaluation" in log for log in logs), logs
    told = optuna_trials(empty_url, "faults")
    assert [(trial.params, trial.value, trial.intermediate_values) for trial in told] == undisturbed
    assert study["best"]["test"]["accuracy"] is not None
    assert study["baseline"]["test"]["accuracy"] is not None
    assert study["best"]["interval"]["low"] <= study["best"]["test"]["accuracy"] <= study["best"]["interval"]["high"]
    assert study["model"]["bytes"] > 0


@pytest.mark.full
@pytest.mark.timeout(600)
def test_trials_that_pause_survive_the_kills_of_child_worker_and_service(
    shared: Served, serve: Serve, tiny: Path
) -> None:
    """Trials are paused and promoted at three rungs; the same ones, with the same scores, as undisturbed."""
    paused = document(tiny) | {"name": "paused", "pruner": {"name": "asha", "reduction_factor": 2}}
    paused["budget"] = {"trials": 6}
    shared.client.post("/v1/studies", json=paused).raise_for_status()
    whole = shared.ended("paused", 240)
    served = serve()
    served.client.post("/v1/studies", json=paused).raise_for_status()

    def waits_beside_one_that_runs(trials: int) -> bool:
        counts = served.client.get("/v1/studies/paused").json()["counts"]
        return bool(counts["paused"] and counts["running"] and sum(counts.values()) >= trials)

    until(lambda: waits_beside_one_that_runs(3), 60)
    os.kill(child_of(served), signal.SIGKILL)
    until(lambda: waits_beside_one_that_runs(4), 60)
    os.kill(worker_of(served), signal.SIGKILL)
    until(lambda: waits_beside_one_that_runs(5), 60)
    below = served.processes()
    served.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid, _ in below), 10)
    served.start()
    study = served.ended("paused", 240)

    assert (study["state"], study["error"]) == ("completed", None)
    assert study["counts"] == whole["counts"]
    assert study["counts"]["pruned"] > 0
    assert study["best"]["trial"] == whole["best"]["trial"]
    ends = [[(trial["state"], trial["reason"]) for trial in house.trials("paused")] for house in (served, shared)]
    assert ends[0] == ends[1]
    assert scores(served.trials("paused")) == scores(shared.trials("paused"))
    assert any(trial["attempt"] > 1 for trial in shared.trials("paused")), "one was promoted"


@pytest.mark.timeout(180)
def test_a_service_away_for_a_while_does_not_stop_training(
    serve: Serve, tiny: Path, tmp_path: Path, undisturbed: list[Any]
) -> None:
    """An external worker trains on while the service is gone, and delivers in order when it is back."""
    served = serve(LUTHIER_FLEET="none")
    with external_worker(served):
        served.client.post("/v1/studies", json=document(tiny)).raise_for_status()
        until(lambda: in_flight(served, "faults", 0), 60)
        evaluated = len(served.trials("faults")[0]["values"])
        served.kill()
        expires = time.monotonic() + float(served.environment["LUTHIER_LEASE_SECONDS"])
        store = Path(served.environment["LUTHIER_HOME"]) / "store"
        trained_on = f"a1-s{evaluated + 1}.*"  # what the worker writes at the next evaluation
        until(lambda: time.monotonic() > expires and list(store.rglob(trained_on)), 60)
        served.start()
        study = served.ended("faults")
    assert study["state"] == "completed"
    trials = served.trials("faults")
    assert [trial["attempt"] for trial in trials] == [1, 1, 1], "the outage cost no trial its lease"
    storage = f"sqlite:///{served.environment['LUTHIER_HOME']}/luthier.db"
    told = optuna_trials(storage, "faults")
    assert [(trial.params, trial.value, trial.intermediate_values) for trial in told] == undisturbed


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.wide)])
def test_a_signal_gives_trials_back_and_leaves_no_process(serve: Serve, tiny: Path, number: signal.Signals) -> None:
    served = serve(LUTHIER_LEASE_SECONDS="600")  # nothing but giving back can free the trial
    served.client.post("/v1/studies", json=document(tiny)).raise_for_status()
    until(lambda: in_flight(served, "faults", 0), 60)
    below = served.processes()
    assert len(below) >= 2
    served.kill(number)
    assert [pid for pid, _ in below if Path(f"/proc/{pid}").exists()] == []
    served.environment["LUTHIER_FLEET"] = "none"
    served.start()
    trial = served.trials("faults")[0]
    assert trial["state"] == "queued"
    assert len(trial["values"]) >= 1
