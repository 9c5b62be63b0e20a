"""A worker of a few lines: it speaks the protocol, trains nothing, and reports given scores."""

import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence

import httpx

from luthier.service.server.embedded import Embedded
from luthier.studies.protocol import Assignment, AssignmentKind, Claim, Outcome, Report
from luthier.studies.results import Block, Evaluation, Inspection, Majority
from luthier.studies.wire import FileRef

MODEL = {"config.json": b'{"model_type": "bert"}', "luthier.json": b"{}", "weights/part.bin": b"\0" * 10_000}


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return a .tar.gz of files by name; every name is allowed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def play(service: Embedded, scores: Sequence[Sequence[float]], archive: bytes, pieces: int = 1000) -> None:
    """Do `pieces` assignments, or all: trial n reports scores[n], a value a step; the model is `archive`."""
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.tokens.fleet}"}) as http:
        for _ in range(pieces):
            claimed = http.post("/v1/worker/claim", json=Claim(worker="player").model_dump())
            if claimed.status_code == 204:
                return
            claimed.raise_for_status()
            _work(http, Assignment.model_validate_json(claimed.content), scores, archive)


def _work(http: httpx.Client, work: Assignment, scores: Sequence[Sequence[float]], archive: bytes) -> None:
    held = {"id": work.id, "token": work.token}
    outcome = Outcome(**held, status="complete", seconds=1.5)
    if work.kind is AssignmentKind.INSPECT:
        rows = {"train": 70, "validation": 15, "test": 15}
        found = Inspection(
            blocks=[Block(name="layer.0", parameters=50), Block(name="layer.1", parameters=50)],
            trainable_parameters=[120, 60, 10],
            label_names=["no", "yes"],
            labels={"no": 50, "yes": 50},
            rows=rows,
            fingerprint="f" * 64,
            majority=Majority(label="no", validation={"accuracy": 0.5}, test={"accuracy": 0.51}),
        )
        outcome = outcome.model_copy(update={"inspection": found})
    elif work.kind is AssignmentKind.TRAIN:
        assert work.number is not None
        for step, value in enumerate(scores[work.number], start=1):
            best = _send(http, work, "best.safetensors", b"weights")
            metrics = {"accuracy": value, "loss": 1 - value}
            report = Report(**held, step=step, metrics=metrics, best=best, log=f"step {step}: {value}\n")
            _post(http, "/v1/worker/report", report.model_dump_json())
    else:
        model = _send(http, work, "model.tar.gz", archive)
        outcome = outcome.model_copy(update={"evaluation": Evaluation(test={"accuracy": 0.75}, model=model)})
    _post(http, "/v1/worker/finish", outcome.model_dump_json())


def _send(http: httpx.Client, work: Assignment, name: str, content: bytes) -> FileRef:
    digest = hashlib.sha256(content).hexdigest()
    headers = {"X-Lease-Token": work.token, "X-Content-SHA256": digest}
    http.put(f"/v1/worker/files/{work.id}/{name}", content=content, headers=headers).raise_for_status()
    return FileRef(name=name, sha256=digest, bytes=len(content))


def _post(http: httpx.Client, path: str, body: str) -> None:
    http.post(path, content=body, headers={"Content-Type": "application/json"}).raise_for_status()
