"""Service processes and threads of workers on one database, and checks of the result."""

import itertools
import json
import multiprocessing
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx

from tests.support import serving
from tests.support.harness import optuna_trials, spec
from tests.support.scripted_worker import ScriptedWorker, Stale
from tests.support.waiting import until

FORKS = multiprocessing.get_context("forkserver")  # the imports of a service take seconds: they are done once
FORKS.set_forkserver_preload(
    [
        *("tests.support.serving", "tests.support.killed_tick", "tests.support.killed_verb", "scipy.stats"),
        *("tests.faults.service", "tests.faults.scripted"),
    ]
)


class ServiceProcess:
    """A service in a process of its own. Its socket stays open while it is down, so that callers wait."""

    def __init__(self, home: Path, url: str) -> None:
        self._home, self._database_url = home, url
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._process: BaseProcess | None = None

    def start(self) -> None:
        given = (self._home, self._database_url, self._listener)
        self._process = FORKS.Process(target=serving.main, args=given, daemon=True)
        self._process.start()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def close(self) -> None:
        self.kill()
        self._listener.close()


@contextmanager
def processes(home: Path, url: str, count: int) -> Iterator[list[ServiceProcess]]:
    """Start so many services on one database at the same moment."""
    home.mkdir()
    with ExitStack() as stack:
        services = [ServiceProcess(home, url) for _ in range(count)]
        for service in services:
            stack.callback(service.close)
            service.start()
        yield services


class Together:
    """Threads of scripted workers; a claim of theirs waits so many seconds."""

    def __init__(self, urls: list[str], threads: int, wait_seconds: float = 0.5) -> None:
        self._wait_seconds = wait_seconds
        self.errors: list[BaseException] = []
        self._done = threading.Event()
        self._workers = [ScriptedWorker(urls[i % len(urls)], f"w{i}", patient_seconds=40) for i in range(threads)]
        self._threads = [threading.Thread(target=self._work, args=[worker], daemon=True) for worker in self._workers]

    def _work(self, worker: ScriptedWorker) -> None:
        try:
            while not self._done.is_set():
                a = worker.claim(self._wait_seconds)
                if a is None:
                    continue
                with suppress(Stale):  # the lease ran out while the service was away
                    worker.work(a)
        except BaseException as error:  # the test's thread raises it
            self.errors.append(error)

    def __enter__(self) -> "Together":
        for thread in self._threads:
            thread.start()
        return self

    def leave(self) -> None:
        """Let each worker end once it has done what it holds."""
        self._done.set()

    def __exit__(self, *_: Any) -> None:
        self.leave()
        for thread in self._threads:
            thread.join(45)
        for worker in self._workers:
            worker.client.close()
        assert not self.errors, self.errors

    def run_until_ended(self, url: str, name: str, seconds: float) -> dict[str, Any]:
        """Return the study once it has ended."""
        watcher = ScriptedWorker(url, patient_seconds=40)

        def ended() -> dict[str, Any] | None:
            assert not self.errors, self.errors
            study = dict(watcher.send("GET", f"/v1/studies/{name}").json())
            return study if study["finished_at"] is not None else None

        try:
            with self:
                return until(ended, seconds, 0.05)
        finally:
            watcher.client.close()


def create(url: str, **changes: Any) -> None:
    """Create a study, also on a service that does not answer yet."""
    client = ScriptedWorker(url, patient_seconds=40)
    client.send("POST", "/v1/studies", json=spec(**changes))
    client.client.close()


def check_exact(url: str, database_url: str, study: dict[str, Any], budget: int) -> None:
    """Check that a study met its budget exactly.

    Numbers are dense and Optuna's, each configuration ran once, and each trial was told to Optuna once, as the service
    has it.
    """
    assert study["state"] == "completed", study
    response = httpx.get(f"{url}/v1/studies/{study['name']}/trials?limit=500", timeout=60)
    trials = response.json()["items"]
    assert [trial["number"] for trial in trials] == list(range(budget))
    assert study["counts"]["complete"] == budget == Counter(trial["state"] for trial in trials)["complete"]
    configurations = [json.dumps(trial["params"], sort_keys=True) for trial in trials]
    assert len(set(configurations)) == budget
    told = optuna_trials(database_url, study["name"])
    assert [trial.number for trial in told] == list(range(budget))
    assert [trial.state.name for trial in told] == ["COMPLETE"] * budget
    assert [trial.value for trial in told] == [trial["value"] for trial in trials]
    for ours, theirs in zip(trials, told, strict=True):
        assert theirs.params == ours["params"]
        steps = {value["step"]: value["metrics"]["accuracy"] for value in ours["values"]}
        assert list(steps) == list(range(1, ours["params"]["epochs"] + 1)), "each evaluation once"
        assert theirs.intermediate_values == steps


def most_at_once(url: str) -> int:
    """Return how many trials ran at the same moment at most, by the database's clock."""
    trials = httpx.get(f"{url}/v1/studies/s1/trials?limit=500", timeout=60).json()["items"]
    changes = [(trial["started_at"], 1) for trial in trials] + [(trial["finished_at"], -1) for trial in trials]
    return max(itertools.accumulate(change for _, change in sorted(changes)))
