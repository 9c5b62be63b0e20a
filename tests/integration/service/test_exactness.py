"""However many workers and services there are, and whatever is killed: the budget exactly, and nothing twice."""

import itertools
import json
import multiprocessing
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.service.lifecycle import study_rows
from tests.support import serving
from tests.support.harness import Running, ScriptedWorker, Stale, optuna_trials, running, spec

FORKS = multiprocessing.get_context("forkserver")  # what a service imports takes seconds: it is imported once
FORKS.set_forkserver_preload(["tests.support.serving"])


class Process:
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
def processes(home: Path, url: str, count: int) -> Iterator[list[Process]]:
    """So many services on one database, all started at the same moment."""
    home.mkdir()
    with ExitStack() as stack:
        services = [Process(home, url) for _ in range(count)]
        for service in services:
            stack.callback(service.close)
            service.start()
        yield services


class Together:
    """Threads of scripted workers."""

    def __init__(self, urls: list[str], threads: int) -> None:
        self.errors: list[BaseException] = []
        self._done = threading.Event()
        self._workers = [ScriptedWorker(urls[i % len(urls)], f"w{i}", patient_seconds=40) for i in range(threads)]
        self._threads = [threading.Thread(target=self._work, args=[worker], daemon=True) for worker in self._workers]

    def _work(self, worker: ScriptedWorker) -> None:
        try:
            while not self._done.is_set():
                a = worker.claim(wait_seconds=0.5)
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

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(45)
        for worker in self._workers:
            worker.client.close()
        assert not self.errors, self.errors

    def run_until_ended(self, url: str, name: str, seconds: float) -> dict[str, Any]:
        """The study, once it has ended."""
        watcher, until = ScriptedWorker(url, patient_seconds=40), time.monotonic() + seconds
        try:
            with self:
                while True:
                    study = dict(watcher.send("GET", f"/v1/studies/{name}").json())
                    if study["finished_at"] is not None:
                        return study
                    assert not self.errors, self.errors
                    assert time.monotonic() < until, study
                    time.sleep(0.05)
        finally:
            watcher.client.close()


def create(url: str, **changes: Any) -> None:
    client = ScriptedWorker(url, patient_seconds=40)
    client.send("POST", "/v1/studies", json=spec(**changes))
    client.client.close()


def check_exact(url: str, database_url: str, study: dict[str, Any], budget: int) -> None:
    """The budget exactly, numbers dense and Optuna's, each configuration once, each trial told once, as we have it."""
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
    """How many trials ran at the same moment, by the database's clock."""
    trials = httpx.get(f"{url}/v1/studies/s1/trials?limit=500", timeout=60).json()["items"]
    changes = [(trial["started_at"], 1) for trial in trials] + [(trial["finished_at"], -1) for trial in trials]
    return max(itertools.accumulate(change for _, change in sorted(changes)))


def test_two_services_and_eight_workers(empty_url: str, tmp_path: Path) -> None:
    """They start on an empty database at the same moment."""
    with processes(tmp_path / "home", empty_url, 2) as services:
        urls = [service.url for service in services]
        create(urls[0], budget={"trials": 30}, parallel=3)
        study = Together(urls, threads=8).run_until_ended(urls[1], "s1", seconds=60)
        check_exact(urls[0], empty_url, study, 30)
        assert most_at_once(urls[0]) <= 3


@pytest.mark.parametrize("seed", [11])
def test_a_service_that_is_killed_again_and_again(database_url: str, tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    with processes(tmp_path / "home", database_url, 1) as (service,):
        create(service.url, budget={"trials": 24}, parallel=4)
        ended, kills = threading.Event(), 0

        def murder() -> None:
            nonlocal kills
            while kills < 4 and not ended.wait(moments.uniform(0.05, 0.4)):
                service.kill()
                kills += 1
                service.start()
                httpx.get(f"{service.url}/healthz", timeout=60)  # it is up again

        murderer = threading.Thread(target=murder)
        murderer.start()
        try:
            study = Together([service.url], threads=4).run_until_ended(service.url, "s1", seconds=80)
        finally:
            ended.set()
            murderer.join()
        assert kills >= 2
        check_exact(service.url, database_url, study, 24)


def test_a_small_finite_space_is_run_once_each(house: Running, database_url: str) -> None:
    with running(house.settings.home, database_url) as other:
        urls = [house.url, other.url]
        space = {"learning_rate": [1e-5, 1e-4, 1e-3], "epochs": [1, 2], "batch_size": [8, 16]}
        create(urls[0], space=space, budget={"trials": 40}, parallel=4)
        study = Together(urls, threads=6).run_until_ended(urls[0], "s1", seconds=60)
        assert "exhausted" in study["message"] and "12" in study["message"]
        check_exact(urls[0], database_url, study, 12)


def test_a_trial_that_optuna_has_and_we_lack_is_adopted(house: Running, worker: ScriptedWorker) -> None:
    """The service was killed after Optuna stored the trial and before our row of it."""
    house.started(worker, budget={"trials": 3})
    worker.train(worker.take())
    with house.core.database.reading() as session:
        study = study_rows.find(session, "s1")
    search = house.core.searches.get(study)
    asked = search.ask(1)
    house.core.searches.forget(study.id)
    a = worker.take()
    assert a.number == 1 and asked is not None and a.params.items() >= asked.items()
    worker.train(a)
    worker.drain()
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE"] * 3
    assert house.study()["state"] == "completed"


def test_a_turn_left_behind_runs_out(house: Running, worker: ScriptedWorker) -> None:
    """The service was killed while it asked Optuna."""
    house.started(worker)
    with house.core.database.engine.begin() as connection:
        now = house.core.database
        with now.reading() as session:
            until = now.time(session) + 60
        connection.exec_driver_sql(f"UPDATE luthier_study SET asker = 'dead', asker_until = {until}")
    assert worker.claim() is None
    house.move_clock(61)
    assert worker.take().number == 0


def test_an_end_that_optuna_was_not_told_is_told_later(house: Running, worker: ScriptedWorker) -> None:
    """The service was killed after our row of the end and before Optuna's."""
    house.started(worker)
    first, second = worker.take(), worker.take()
    for a in (first, second):
        worker.report(a, 1, 0.6)
    with house.core.database.engine.begin() as connection:
        for a, state in ((first, "complete"), (second, "pruned")):
            connection.exec_driver_sql(f"UPDATE luthier_assignment SET state = '{state}' WHERE id = {a.id}")
    house.reap()
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE", "PRUNED"]
    assert house.optuna()[0].value == 0.6


def test_a_service_that_finds_itself_alone_waits_for_no_search_inside_a_transaction(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads a study's trials holds its search, and waits for the database's writer."""
    house.started(worker)
    worker.take()
    searches, database = house.core.searches, house.core.database
    (search,) = searches._open.values()
    searches._alone = False
    waits, written, released = threading.Event(), threading.Event(), threading.Event()

    def refresh() -> None:
        waits.set()
        assert released.wait(10)

    def write() -> None:
        with database.transaction():
            written.set()

    monkeypatch.setattr(search, "refresh", refresh)
    threads = [threading.Thread(target=searches.heartbeat), threading.Thread(target=write)]
    threads[0].start()
    assert waits.wait(10)
    threads[1].start()
    assert written.wait(10)
    released.set()
    for thread in threads:
        thread.join()


def test_finish_and_cancel_at_the_same_moment(house: Running) -> None:
    """No two requests wait for each other's locks."""
    for i in range(4):
        name, worker = f"s{i}", house.worker()
        house.started(worker, name, parallel=4, budget={"trials": 9})
        held = [worker.take() for _ in range(4)]
        answers: list[int] = []

        def finish(a: Any, worker: ScriptedWorker = worker, answers: list[int] = answers) -> None:
            message = {"id": a.id, "token": a.token, "status": "failed", "reason": "error"}
            answers.append(worker.client.post("/v1/worker/finish", json=message).status_code)

        threads = [threading.Thread(target=finish, args=[a]) for a in held]
        for thread in threads:
            thread.start()
        assert house.client.post(f"/v1/studies/{name}/cancel").status_code == 200
        for thread in threads:
            thread.join()
        assert set(answers) <= {204, 409}
        assert house.study(name)["counts"]["running"] == 0
