"""The winner: its test score, measured once, and the model a person can use, packed as one file."""

import contextlib
import gzip
import hashlib
import json
import platform
import shutil
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers

from luthier.studies.protocol import Assignment, Evaluation, Metrics
from luthier.trials.data.row_digests import marks, packed
from luthier.trials.jobs.compare import SEEN
from luthier.trials.jobs.train import prepare
from luthier.trials.model import lora
from luthier.trials.session import BadData, Session
from luthier.trials.training import checkpoint
from luthier.trials.training.engine import Computer
from luthier.trials.training.warm import Opened, Warm
from luthier.trials.worker.assignment_files import file_ref

NAME = "model.tar.gz"


def evaluate(assignment: Assignment, session: Session, warm: Warm) -> Evaluation:
    """Score `assignment.checkpoint.best` on the test split, if there is one, and pack its model.

    Raises BadData, session.Ended, torch.OutOfMemoryError.
    """
    for left in session.folder.glob(".pack-*"):  # a whole model each, of an attempt that was killed
        shutil.rmtree(left, ignore_errors=True)
    opened = warm.open(assignment)
    model, _ = prepare(opened, assignment.params, assignment.seed)
    best = assignment.checkpoint.best
    if best is None:
        raise BadData("The study has no finished trial, so there is no model to measure.")
    tensors, about = checkpoint.read(session.folder / best.name)
    checkpoint.load_trained(model, tensors, about.get("decay", 1.0))
    lora.merge(opened.pretrained)  # from here on the model is what people will load
    test: Metrics | None = None
    if "test" in opened.data.splits:
        encoded = opened.encoded("test", int(assignment.params["max_length"]))
        computer = Computer(model, opened.task, warm, precision=assignment.spec.precision)
        with contextlib.closing(computer):
            computer.speed_up(opened, assignment.params, {"test": encoded}, session)
            test = opened.scores(computer.predict(encoded, session.poll), encoded)
        session.log(f"test ({len(encoded)} rows): {', '.join(f'{k} {v}' for k, v in test.items())}")
    return Evaluation(test=test, model=file_ref(_pack(assignment, opened, test, session.folder)))


def _pack(assignment: Assignment, opened: Opened, test: Metrics | None, folder: Path) -> Path:
    work = Path(tempfile.mkdtemp(prefix=".pack-", dir=folder))
    try:
        inner = work / "model"
        opened.pretrained.model.save_pretrained(inner)
        opened.pretrained.processor.save_pretrained(inner)
        about = json.dumps(_about(assignment, opened, test), indent=2, ensure_ascii=False)
        (inner / "luthier.json").write_text(about + "\n", encoding="utf-8")
        seen = (marks(opened.data.splits[name].columns) for name in ("train", "validation"))
        (inner / SEEN).write_bytes(packed([mark for rows in seen for mark in rows]))
        _tar(inner, work / NAME)
        return (work / NAME).replace(folder / NAME)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _about(assignment: Assignment, opened: Opened, test: Metrics | None) -> dict[str, Any]:
    """What made the model: enough to make it again."""
    return assignment.provenance | {
        "spec": assignment.spec.model_dump(mode="json"),
        "model_sha256": _weights_digest(opened.folder),
        "params": assignment.params,
        "seed": assignment.seed,
        "label_names": opened.data.label_names,
        "fingerprint": opened.data.fingerprint,
        "test": test,
        "versions": {
            "luthier": version("luthier"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _weights_digest(folder: Path) -> str:
    """SHA-256 of the base model's weights: of its safetensors files one after another, by name."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as weights:
            hashlib.file_digest(weights, lambda: digest)
    return digest.hexdigest()


def _tar(folder: Path, target: Path) -> None:
    """Pack a folder's files under their own names; the same files give the same bytes."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        member.mode = 0o644
        return member

    # Weights hardly shrink: the fastest level saves the most time for the least space lost.
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            tar.add(file, str(file.relative_to(folder)), filter=plain)
