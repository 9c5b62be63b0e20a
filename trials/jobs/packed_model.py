"""A winner packed as one file: a `save_pretrained` folder with `luthier.json`, as model.tar.gz."""

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

from luthier.studies.protocol import Assignment
from luthier.studies.wire import FileRef, Metrics
from luthier.trials.data.row_digests import join_digests, row_digests
from luthier.trials.training.model_cache import OpenStudy

SEEN = "luthier-seen.bin"  # in a packed model: the marks of the rows that it was trained or chosen on


def unpack(folder: Path, ref: FileRef, work: Path) -> Path:
    """A packed model's folder. The service packed it; members other than plain files do not come out all the same."""
    target = work / ref.name.partition(".")[0]
    with tarfile.open(folder / ref.name) as tar:
        tar.extractall(target, filter="data")
    return target


NAME = "model.tar.gz"


def pack(assignment: Assignment, opened: OpenStudy, test: Metrics | None, folder: Path) -> Path:
    work = Path(tempfile.mkdtemp(prefix=".pack-", dir=folder))
    try:
        inner = work / "model"
        opened.pretrained.model.save_pretrained(inner)
        opened.pretrained.processor.save_pretrained(inner)
        about = json.dumps(_about(assignment, opened, test), indent=2, ensure_ascii=False)
        (inner / "luthier.json").write_text(about + "\n", encoding="utf-8")
        seen = (row_digests(opened.data.splits[name].columns) for name in ("train", "validation"))
        (inner / SEEN).write_bytes(join_digests([mark for rows in seen for mark in rows]))
        _tar(inner, work / NAME)
        return (work / NAME).replace(folder / NAME)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _about(assignment: Assignment, opened: OpenStudy, test: Metrics | None) -> dict[str, Any]:
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
