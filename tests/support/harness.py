"""A real service on a loopback port, and a worker that trains by formula: everything else is the real thing."""

import asyncio
import hashlib
import io
import json
import math
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
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
from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.studies.results import Inspection
from luthier.studies.wire import FileRef

TIMINGS = Timings(scheduler_seconds=3600.0)  # tests tick themselves, at the time they want it to be

INSPECTION = Inspection.model_validate(
    {
        "blocks": [{"name": f"layer.{i}", "parameters": 100} for i in range(6)],
        "trainable_parameters": [610 - 100 * i for i in range(7)],
        "label_names": ["ham", "spam"],
        "labels": {"ham": 60, "spam": 40},
        "rows": {"train": 70, "validation": 15, "test": 15},
        "fingerprint": "f" * 64,
        "estimates": {
            "seconds_per_trial": 12.5,
            "memory_bytes": 1_000_000,
            "batch_sizes": [
                {"batch_size": 8, "fits": True, "micro_batch": 8, "memory_bytes": 1_000_000},
                {"batch_size": 32, "fits": False, "micro_batch": 16, "memory_bytes": 4_000_000},
            ],
        },
    }
)


def spec(name: str = "s1", **changes: Any) -> dict[str, Any]:
    """A small valid spec; nothing is pruned."""
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


def score(params: dict[str, Any], step: int) -> float:
    """What "training" reaches: best near a learning rate of 1e-4, a little better at every step."""
    return 0.5 + 0.3 * math.exp(-((math.log10(params["learning_rate"]) + 4) ** 2)) + 0.01 * step


def client(url: str, **options: Any) -> httpx.Client:
    """Loopback only: loading certificates would take longer than most tests."""
    return httpx.Client(base_url=url, timeout=60, verify=False, **options)


class Stale(Exception):
    """The service answered 409: the lease is over."""


class ScriptedWorker:
    """Speaks the worker's protocol over HTTP. With `patient_seconds` it retries while no service answers."""

    def __init__(self, url: str, name: str = "w1", token: str | None = None, patient_seconds: float = 0.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = client(url, headers=headers)
        self.name, self._patient_seconds = name, patient_seconds
        self.score: Callable[[dict[str, Any], int], float] = score
        self.gpu: dict[str, Any] | None = None  # the one it says it has
        self.inspection = INSPECTION  # what it finds
        self.comparison: dict[str, Any] = {}  # what it finds, where that differs from a draw
        self.trained: list[int] = []  # numbers of the trials it finished

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The response; 409 raises Stale, other errors raise too."""
        until = time.monotonic() + self._patient_seconds
        while True:
            try:
                response = self.client.request(method, path, **request)
                if response.status_code == 409:
                    raise Stale(response.text)
                if response.status_code < 500 or time.monotonic() > until:
                    assert response.is_success, response.text
                    return response
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.05)

    def post(self, path: str, **message: Any) -> httpx.Response:
        return self.send("POST", f"/v1/worker/{path}", json=message)

    def claim(self, wait_seconds: float = 0.0) -> Assignment | None:
        response = self.post("claim", worker=self.name, wait_seconds=wait_seconds, gpu=self.gpu)
        return None if response.status_code == 204 else Assignment.model_validate_json(response.content)

    def take(self, kind: AssignmentKind = AssignmentKind.TRAIN) -> Assignment:
        """The next assignment, which must be of this kind."""
        assignment = self.claim()
        assert assignment is not None, "nothing to claim"
        assert assignment.kind is kind
        return assignment

    def report(self, a: Assignment, step: int, value: float | None, **extra: Any) -> Decision:
        message = {"step": step, "metrics": {"accuracy": value, "loss": 0.1}, "seconds": float(step)} | extra
        return Decision(self.post("report", **held(a), **message).json()["decision"])

    def renew(self, a: Assignment) -> Decision:
        return Decision(self.post("renew", **held(a)).json()["decision"])

    def finish(self, a: Assignment, status: str = "complete", **extra: Any) -> None:
        self.post("finish", **held(a), status=status, **extra)

    def write(self, a: Assignment, name: str, content: bytes) -> dict[str, Any]:
        """A file in the assignment's folder, as a worker on the service's machine writes it; what names it."""
        folder = Path(a.store)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{name}.part"
        part.write_bytes(content)
        part.replace(folder / name)
        return file_ref(name, content)

    def inspect(self, a: Assignment) -> None:
        self.finish(a, inspection=self.inspection.model_dump(mode="json"))

    def train(self, a: Assignment, steps: int | None = None) -> None:
        """From the checkpoint to the last epoch, obeying decisions; `steps`: only so many, and no end."""
        best, decision = a.checkpoint.best_value, Decision.CONTINUE
        last = int(a.params["epochs"]) * a.spec.evaluations_per_epoch
        todo = range(a.checkpoint.step + 1, last + 1)
        for step in todo if steps is None else todo[:steps]:
            value = self.score(a.params, step)
            files = {"resume": self.write(a, f"resume-{step}", f"{a.number} {step}".encode())}
            if best is None or value > best:
                best = value
                files["best"] = self.write(a, f"best-{step}", f"weights {a.number} {step}".encode())
            decision = self.report(a, step, value, **files)
            if decision is not Decision.CONTINUE:
                break
        if steps is None:
            self.finish(a, "pruned" if decision is Decision.PRUNE else "complete", seconds=1.0)
            if a.kind is AssignmentKind.TRAIN:
                self.trained.append(a.number or 0)

    def evaluate(self, a: Assignment) -> None:
        assert a.checkpoint.best is not None
        weights = (Path(a.store) / a.checkpoint.best.name).read_bytes()
        model = self.write(a, "model.tar.gz", model_archive(weights, a.provenance))
        self.finish(a, evaluation={"test": {"accuracy": 0.75, "loss": 0.4}, "model": model})

    def compare(self, a: Assignment) -> None:
        """Both models are there, whole; each is right on the same 80 of 100 examples, unless `comparison` differs."""
        for ref in (a.champion, a.challenger):
            assert ref is not None and file_ref(ref.name, (Path(a.store) / ref.name).read_bytes()) == ref.model_dump()
        found = {"examples": 100, "left_out": 0, "units": 100, "independent": True, "gained": 0, "lost": 0}
        found |= {side: {"accuracy": 0.8, "loss": 0.4} for side in ("champion", "challenger")} | self.comparison
        self.finish(a, comparison=found | {"predictions": self.write(a, "predictions.csv.gz", b"said")})

    def work(self, a: Assignment) -> None:
        known = {
            AssignmentKind.INSPECT: self.inspect,
            AssignmentKind.EVALUATE: self.evaluate,
            AssignmentKind.COMPARE: self.compare,
        }
        known.get(a.kind, self.train)(a)

    def drain(self, wait_seconds: float = 0.0) -> None:
        """Work until there is nothing to do."""
        while (a := self.claim(wait_seconds)) is not None:
            self.work(a)


def held(a: Assignment) -> dict[str, Any]:
    return {"id": a.id, "token": a.token}


def file_ref(name: str, content: bytes) -> dict[str, Any]:
    return FileRef(name=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)).model_dump()


def model_archive(weights: bytes, provenance: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (("model.safetensors", weights), ("luthier.json", json.dumps(provenance).encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The response's body, which must be a problem of this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = dict(response.json())
    assert body["status"] == status and body["title"] and body["detail"]
    return body


def paths(response: httpx.Response) -> set[str]:
    """The paths of the values that a 422 names."""
    return {error["path"] for error in problem(response, 422)["errors"]}


class PromptServer(Server):
    """Ends as soon as it is asked to, instead of looking ten times a second."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._asked = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._asked.wait()

    def end(self) -> None:
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._asked.set)


class Running:
    """A service that answers, its parts, and clients of it."""

    def __init__(self, settings: Settings, tokens: Tokens | None = None) -> None:
        self.settings, self.tokens = settings, tokens or Tokens(None, None)
        self.app = create_app(settings, self.tokens, timings=TIMINGS)
        self.core: Core = self.app.state.service.core
        self._listener = listen(settings)
        self.url = url_of(self._listener)
        self._ready = threading.Event()
        server = PromptServer(config(self.app), self._ready.set, lambda: None)
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
        """What the service does every second."""
        Reaper(self.core).tick()

    def tick(self, now: float | None = None) -> None:
        """What the service does every second about schedules."""
        self.app.state.service.scheduler.tick(now)

    def create(self, name: str = "s1", **changes: Any) -> dict[str, Any]:
        response = self.client.post("/v1/studies", json=spec(name, **changes))
        assert response.status_code == 201, response.text
        return dict(response.json())

    def started(self, worker: ScriptedWorker, name: str = "s1", **changes: Any) -> None:
        """A study whose inspection is done."""
        self.create(name, **changes)
        worker.inspect(worker.take(AssignmentKind.INSPECT))

    def finished(self, name: str = "s1", **changes: Any) -> dict[str, Any]:
        """A study that has run to its end."""
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
        """Optuna's own trials of the study, read afresh."""
        return optuna_trials(self.settings.sqlalchemy_url, name)


def optuna_trials(url: str, name: str) -> list[Any]:
    import optuna

    storage = optuna.storages.RDBStorage(url)
    try:
        return optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def running(home: Path, url: str | None, tokens: Tokens | None = None, **settings: Any) -> Iterator[Running]:
    """A service on this database until the block ends; its reaper takes no lease back by itself for 30 s."""
    values = {"lease_seconds": 30, "port": 0, "fleet": "none"} | settings
    house = Running(Settings(home=home, database_url=SecretStr(url) if url else None, **values), tokens)
    house.start()
    try:
        yield house
    finally:
        house.stop()
