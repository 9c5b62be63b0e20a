"""A worker that speaks the protocol over HTTP and trains by formula."""

import hashlib
import io
import json
import math
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.studies.results import Inspection
from luthier.studies.wire import FileRef

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


def score(params: dict[str, Any], step: int) -> float:
    """Return the score of the "training": best near a learning rate of 1e-4, and a little better at every step."""
    return 0.5 + 0.3 * math.exp(-((math.log10(params["learning_rate"]) + 4) ** 2)) + 0.01 * step


def client(url: str, **options: Any) -> httpx.Client:
    """Return a client for loopback alone: loading certificates would take longer than most tests."""
    return httpx.Client(base_url=url, timeout=60, verify=False, **options)


class Stale(Exception):
    """The service answered 409: the lease is over."""


class ScriptedWorker:
    """A worker that speaks the protocol over HTTP and trains by formula.

    With `patient_seconds` it retries while no service answers.
    """

    def __init__(self, url: str, name: str = "w1", token: str | None = None, patient_seconds: float = 0.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = client(url, headers=headers)
        self.name, self._patient_seconds = name, patient_seconds
        self.score: Callable[[dict[str, Any], int], float] = score
        self.gpu: dict[str, Any] | None = None  # the one it says it has
        self.about: dict[str, Any] = {}  # what else it says of itself: host, version, libraries, device
        self.inspection = INSPECTION  # the result of its inspections
        self.evaluation: dict[str, Any] = {}  # of its evaluations, beside or in place of fixed test metrics
        self.comparison: dict[str, Any] = {}  # the result of its comparisons, where that differs from a draw
        self.trained: list[int] = []  # numbers of the trials it finished

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request and return the response; 409 raises Stale, and other errors raise too."""
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
        """Send one of the protocol's messages."""
        return self.send("POST", f"/v1/worker/{path}", json=message)

    def claim(self, wait_seconds: float = 0.0) -> Assignment | None:
        """Ask for an assignment; None where there is none within so many seconds."""
        response = self.post("claim", worker=self.name, wait_seconds=wait_seconds, gpu=self.gpu, **self.about)
        return None if response.status_code == 204 else Assignment.model_validate_json(response.content)

    def take(self, kind: AssignmentKind = AssignmentKind.TRAIN) -> Assignment:
        """Claim the next assignment, which must be of this kind, and renew at once, as a worker does."""
        assignment = self.claim()
        assert assignment is not None, "nothing to claim"
        assert assignment.kind is kind
        self.renew(assignment)
        return assignment

    def report(self, a: Assignment, step: int, value: float | None, **extra: Any) -> Decision:
        """Report one evaluation and return the service's decision."""
        message = {"step": step, "metrics": {"accuracy": value, "loss": 0.1}, "seconds": float(step)} | extra
        return Decision(self.post("report", **held(a), **message).json()["decision"])

    def renew(self, a: Assignment) -> Decision:
        """Renew the lease and return the service's decision."""
        return Decision(self.post("renew", **held(a)).json()["decision"])

    def finish(self, a: Assignment, status: str = "complete", **extra: Any) -> None:
        """Send the outcome."""
        self.post("finish", **held(a), status=status, **extra)

    def write(self, a: Assignment, name: str, content: bytes) -> dict[str, Any]:
        """Write a file as a worker on the service's machine does, and return the reference that names it."""
        folder = Path(a.store)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{name}.part"
        part.write_bytes(content)
        part.replace(folder / name)
        return file_ref(name, content)

    def inspect(self, a: Assignment) -> None:
        """Finish an inspection with `inspection`."""
        self.finish(a, inspection=self.inspection.model_dump(mode="json"))

    def train(self, a: Assignment, steps: int | None = None) -> None:
        """Train from the checkpoint to the last epoch, obeying decisions; with `steps`, only so many and no outcome."""
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
        if steps is None and decision is Decision.PAUSE:
            self.finish(a, "paused", seconds=1.0, resume=files["resume"])
        elif steps is None:
            self.finish(a, "pruned" if decision is Decision.PRUNE else "complete", seconds=1.0)
            if a.kind is AssignmentKind.TRAIN:
                self.trained.append(a.number or 0)

    def evaluate(self, a: Assignment) -> None:
        """Pack the winner's weights and finish with fixed test metrics."""
        assert a.checkpoint.best is not None
        weights = (Path(a.store) / a.checkpoint.best.name).read_bytes()
        model = self.write(a, "model.tar.gz", model_archive(weights, a.provenance))
        self.finish(a, evaluation={"test": {"accuracy": 0.75, "loss": 0.4}, "model": model} | self.evaluation)

    def compare(self, a: Assignment) -> None:
        """Check that both models are whole, and find them right on the same 80 of 100 examples, or `comparison`."""
        for ref in (a.champion, a.challenger):
            assert ref is not None
            assert file_ref(ref.name, (Path(a.store) / ref.name).read_bytes()) == ref.model_dump()
        found = {"examples": 100, "left_out": 0, "units": 100, "independent": True, "gained": 0, "lost": 0}
        found |= {side: {"accuracy": 0.8, "loss": 0.4} for side in ("champion", "challenger")} | self.comparison
        self.finish(a, comparison=found | {"predictions": self.write(a, "predictions.csv.gz", b"said")})

    def predict(self, a: Assignment) -> None:
        """Check that model and table are whole, and answer each row of a csv with its number."""
        for ref in a.files:
            assert file_ref(ref.name, (Path(a.store) / ref.name).read_bytes()) == ref.model_dump()
        assert a.table is not None
        header, *rows = (Path(a.store) / a.table.name).read_text().splitlines()
        lines = [f"{header},prediction", *(f"{row},{i}" for i, row in enumerate(rows))]
        file = self.write(a, "predictions.csv", "".join(f"{line}\n" for line in lines).encode())
        self.finish(a, prediction={"rows": len(rows), "unreadable": 0, "file": file}, seconds=1.0)

    def export_onnx(self, a: Assignment) -> None:
        """Check that the packed winner is whole, and finish with an archive of a folder `onnx` beside its files."""
        (ref,) = a.files
        packed = Path(a.store, ref.name).read_bytes()
        assert file_ref(ref.name, packed) == ref.model_dump()
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            about = tar.extractfile("luthier.json")
            assert about is not None
            members = {"luthier.json": about.read(), "onnx/model.onnx": b"graph " + packed}
        file = self.write(a, "onnx.tar.gz", archive(members))
        self.finish(a, onnx={"rows": 15, "difference": 2e-7, "file": file}, seconds=1.0)

    def work(self, a: Assignment) -> None:
        """Do an assignment of any kind to its end."""
        methods = {
            AssignmentKind.INSPECT: self.inspect,
            AssignmentKind.EVALUATE: self.evaluate,
            AssignmentKind.COMPARE: self.compare,
            AssignmentKind.PREDICT: self.predict,
            AssignmentKind.ONNX: self.export_onnx,
        }
        methods.get(a.kind, self.train)(a)

    def claim_and_give_back(self) -> bool:
        """Show that the worker is there, and give back what it gets; return whether that was anything."""
        a = self.claim()
        if a is not None:
            self.finish(a, "released")
        return a is not None

    def drain_one(self) -> None:
        """Do the next piece of work, if there is any."""
        if (a := self.claim()) is not None:
            self.work(a)

    def drain(self, wait_seconds: float = 0.0) -> None:
        """Work until there is nothing to do."""
        while (a := self.claim(wait_seconds)) is not None:
            self.work(a)


def held(a: Assignment) -> dict[str, Any]:
    """Return the fields by which a message names the lease it is sent under."""
    return {"id": a.id, "token": a.token}


def file_ref(name: str, content: bytes) -> dict[str, Any]:
    """Return the reference to a file with this content."""
    return FileRef(name=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)).model_dump()


def model_archive(weights: bytes, provenance: dict[str, Any]) -> bytes:
    """Return a .tar.gz as an evaluation packs it."""
    return archive({"model.safetensors": weights, "luthier.json": json.dumps(provenance).encode()})


def archive(members: dict[str, bytes]) -> bytes:
    """Return a .tar.gz of files, by their names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
