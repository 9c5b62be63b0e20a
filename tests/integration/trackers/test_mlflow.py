"""MLflow itself: a server in a process of its own, and a store without one."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.trackers.conftest import Track
from tests.support.command_line import command_in
from tests.support.harness import Running

# MLflow's own store warns of the libraries that it uses.
pytestmark = [pytest.mark.trackers, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = f"sqlite:///{folder / 'mlflow.db'}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            try:
                httpx.get(f"{url}/health", timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None
                assert time.monotonic() < until
        yield url
    finally:
        process.terminate()
        process.wait(30)


class Stored:
    """What MLflow has of the studies in an experiment."""

    def __init__(self, uri: str, experiment: str = "luthier") -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        found = self.client.get_experiment_by_name(experiment)
        runs = [] if found is None else [*self.client.search_runs([found.experiment_id], max_results=1000)]
        self.parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        self.trials = {int(run.data.tags["luthier.trial"]): run for run in runs if run not in self.parents}
        self.count = len(runs)

    def history(self, run: Any, name: str) -> list[tuple[int, float]]:
        return [(metric.step, metric.value) for metric in self.client.get_metric_history(run.info.run_id, name)]


def check_whole(stored: Stored, house: Running) -> None:
    """Check that MLflow has what the service says, and nothing twice."""
    [parent] = stored.parents
    study, trials = house.study(), house.trials()
    assert stored.count == 1 + len(trials)
    for trial in trials:
        run = stored.trials[trial["number"]]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.run_name == f"s1 trial {trial['number']}"
        expected = {name: str(value) for name, value in trial["params"].items()}
        assert run.data.params == expected | {"seed": str(trial["seed"])}
        curve = [(step["step"], step["metrics"]["accuracy"]) for step in trial["values"]]
        assert stored.history(run, "accuracy") == curve
        assert run.data.metrics.get("value") == trial["value"]
        assert run.data.metrics.get("seconds") == trial["seconds"]
        assert run.data.tags["luthier.state"] == trial["state"]
        assert run.data.tags.get("luthier.reason") == trial["reason"]
    assert parent.data.metrics["test.accuracy"] == study["best"]["test"]["accuracy"]
    assert parent.data.metrics["best.value"] == study["best"]["value"]
    assert parent.data.params["space.learning_rate.high"] == "0.001"
    assert parent.data.tags["luthier.winner"] == str(study["best"]["trial"])
    assert parent.info.status == "FINISHED"


def test_a_server_has_a_study_and_its_trials_once(study: Running, track: Track, server: str) -> None:
    for _ in range(2):
        errors = track("--to", "mlflow", "--model", MLFLOW_TRACKING_URI=server)
        assert server not in errors
        stored = Stored(server)
        check_whole(stored, study)
    assert {number: run.info.status for number, run in stored.trials.items()} == {
        0: "FINISHED",
        1: "FAILED",
        2: "KILLED",
        3: "FINISHED",
    }
    [parent] = stored.parents
    assert parent.data.tags["luthier.tags"] == "german"
    assert parent.data.tags["mlflow.note.content"] == "The | first <b>one</b>."
    assert [file.path for file in stored.client.list_artifacts(parent.info.run_id)] == ["model"]


def test_a_study_is_told_live_and_gone_on_with_after_a_kill(house: Running, track: Track, tmp_path: Path) -> None:
    worker = house.worker()
    house.started(worker, budget={"trials": 2}, parallel=1)
    worker.train(worker.take())
    trial = worker.take()
    worker.report(trial, 1, 0.5)
    uri = f"sqlite:///{tmp_path / 'own.db'}"
    environment = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "mine"}
    luthier = command_in(tmp_path)
    results: list[Any] = []
    first = threading.Thread(
        target=lambda: results.append(
            luthier("track", "s1", "--to", "mlflow", LUTHIER_SERVER=house.url, PYTHONWARNINGS="ignore", **environment)
        )
    )
    Stored(uri, "mine")  # makes the store: two at once would be in each other's way
    first.start()
    until = time.monotonic() + 60
    while True:  # the running trial's evaluation is there before it ends
        stored = Stored(uri, "mine")
        if 1 in stored.trials and stored.history(stored.trials[1], "accuracy"):
            break
        assert time.monotonic() < until
        time.sleep(0.2)
    assert stored.trials[1].info.status == "RUNNING"
    worker.report(trial, 2, 0.6)
    worker.finish(trial)
    worker.drain()
    first.join(60)
    assert results[0].returncode == 0, results[0].stderr
    check_whole(Stored(uri, "mine"), house)
    track("--to", "mlflow", **environment)
    check_whole(Stored(uri, "mine"), house)


def test_a_server_that_is_away_ends_in_a_sentence_without_its_address(study: Running, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    away = {"MLFLOW_TRACKING_URI": f"http://me:pass-word@127.0.0.1:{port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    luthier = command_in(tmp_path)
    ended = luthier("track", "s1", "--to", "mlflow", "--to", "tensorboard", LUTHIER_SERVER=study.url, **away)
    assert ended.returncode == 1
    [line] = [line for line in ended.stderr.splitlines() if "is told no more" in line]
    assert line.startswith("MLflow is told no more of s1: ")
    assert "pass-word" not in ended.stderr
    assert str(port) not in ended.stderr
    assert "TensorBoard has it whole" in ended.stdout
