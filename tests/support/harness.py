"""A real service on a loopback port, in a thread of the test's process: all but the training is real."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from luthier.service.dispatch.core import Core
from luthier.service.dispatch.reaper import Reaper
from luthier.service.server.app import Tokens, create_app
from luthier.service.server.serve import Server, config, listen, url_of
from luthier.service.server.timings import Timings
from luthier.service.settings import Settings
from luthier.studies.protocol import AssignmentKind
from tests.support.scripted_worker import (
    INSPECTION,
    ScriptedWorker,
    Stale,
    client,
    file_ref,
    held,
    model_archive,
    score,
)

__all__ = [
    "INSPECTION",
    "Running",
    "ScriptedWorker",
    "Stale",
    "client",
    "file_ref",
    "held",
    "model_archive",
    "optuna_trials",
    "paths",
    "problem",
    "running",
    "score",
    "spec",
]

TIMINGS = Timings(scheduler_seconds=3600.0, event_look_seconds=0.02)  # tests tick themselves, at the time they want


def spec(name: str = "s1", **changes: Any) -> dict[str, Any]:
    """Return a small valid spec that prunes nothing, with top-level keys replaced."""
    return {
        "name": name,
        "task": "text-classification",
        "model": "models/tiny",
        "dataset": {"source": "data/sms.csv"},
        "space": {
            "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
            "batch_size": [8, 16, 32],
            "epochs": {"low": 1, "high": 3},
            "freeze_depth": {"low": 0, "high": "auto"},
        },
        "pruner": {"name": "none"},
        "budget": {"trials": 4},
        "parallel": 2,
    } | changes


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """Return the response's body, which must be a problem of this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = dict(response.json())
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


def paths(response: httpx.Response) -> set[str]:
    """Return the paths of the values that a 422 names."""
    return {error["path"] for error in problem(response, 422)["errors"]}


class PromptServer(Server):
    """A server that ends as soon as it is asked to; uvicorn's checks ten times a second, and pauses at the end."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._asked = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._asked.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as uvicorn does, without its fixed pause of 0.1 s: the test's clients have hung up."""
        self.config.app.state.service.notifier.close()  # streams of events end
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        async with asyncio.timeout(10):
            while self.server_state.connections or self.server_state.tasks:
                await asyncio.sleep(0.002)
        await self.lifespan.shutdown()

    def end(self) -> None:
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._asked.set)


class Running:
    """A service that answers, its parts, and clients of it."""

    def __init__(self, settings: Settings, tokens: Tokens | None = None, timings: Timings = TIMINGS) -> None:
        self.settings, self.tokens = settings, tokens or Tokens(None, None)
        self.app = create_app(settings, self.tokens, timings=timings)
        self.core: Core = self.app.state.service.core
        self._listener = listen(settings)
        self.url = url_of(self._listener)
        self._ready = threading.Event()
        server = PromptServer(config(self.app, timings), self._ready.set, lambda: None)
        self._server = server
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self.client, self.anyone = client(self.url), client(self.url)
        if self.tokens.user:
            self.client.headers["Authorization"] = f"Bearer {self.tokens.user}"
        self._workers: list[ScriptedWorker] = []

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        for worker in self._workers:
            worker.client.close()
        self.client.close()
        self.anyone.close()
        self._server.end()
        self._thread.join(30)
        self._listener.close()
        assert not self._thread.is_alive()

    def worker(self, name: str = "w1", gpu: dict[str, Any] | None = None) -> ScriptedWorker:
        self._workers.append(ScriptedWorker(self.url, name, self.tokens.fleet if self.tokens.user else None))
        self._workers[-1].gpu = gpu
        return self._workers[-1]

    def move_clock(self, seconds: float) -> None:
        """Let so much time pass, by the database's clock."""
        self.core.database.clock_offset += seconds

    def reap(self) -> None:
        """Do the round that the reaper of the service does every second, and that for studies that have ended."""
        reaper = Reaper(self.core)
        reaper.tick()
        reaper.mend_ended()

    def tick(self, now: float | None = None) -> None:
        """Do the round that the scheduler of the service does every second."""
        self.app.state.service.scheduler.tick(now)

    def create(self, name: str = "s1", **changes: Any) -> dict[str, Any]:
        response = self.client.post("/v1/studies", json=spec(name, **changes))
        assert response.status_code == 201, response.text
        return dict(response.json())

    def started(self, worker: ScriptedWorker, name: str = "s1", **changes: Any) -> None:
        """Create a study, do its inspection, and return it."""
        self.create(name, **changes)
        worker.inspect(worker.take(AssignmentKind.INSPECT))

    def finished(self, name: str = "s1", **changes: Any) -> dict[str, Any]:
        """Create a study, run it to its end, and return it."""
        self.create(name, **changes)
        worker = self.worker()
        worker.drain()
        worker.drain()  # the claim that finds a space exhausted finds nothing else
        return self.study(name)

    def study(self, name: str = "s1") -> dict[str, Any]:
        return self.get(f"/v1/studies/{name}")

    def trials(self, name: str = "s1") -> list[dict[str, Any]]:
        return list(self.get(f"/v1/studies/{name}/trials?limit=500")["items"])

    def get(self, path: str) -> dict[str, Any]:
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def optuna(self, name: str = "s1") -> list[Any]:
        """Return Optuna's own trials of the study, read from the database."""
        return optuna_trials(self.settings.sqlalchemy_url, name)


def optuna_trials(url: str, name: str) -> list[Any]:
    """Return Optuna's own trials of a study, read with a storage of their own."""
    import optuna

    storage = optuna.storages.RDBStorage(url)
    try:
        return optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def running(
    home: Path, url: str | None, tokens: Tokens | None = None, timings: Timings = TIMINGS, **settings: Any
) -> Iterator[Running]:
    """Run a service on this database until the block ends; its reaper takes no lease back by itself for 30 s."""
    values = {"lease_seconds": 30, "port": 0, "fleet": "none"} | settings
    house = Running(Settings(home=home, database_url=SecretStr(url) if url else None, **values), tokens, timings)
    house.start()
    try:
        yield house
    finally:
        house.stop()
