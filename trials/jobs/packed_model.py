"""A winner packed as one file, model.tar.gz: a `save_pretrained` folder with luthier.json and a card, README.md.

`evaluate` packs the model, `compare` unpacks two of them, `predict` and `onnx_export` one. The archives' members keep
their names: people and the service's clients rely on them.
"""

import gzip
import hashlib
import json
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers

from luthier.studies.archives import ArchiveError, unpack_archive
from luthier.studies.protocol import Assignment
from luthier.studies.results import Batching
from luthier.studies.semantics import INPUTS_UNITED
from luthier.studies.strategy import Generation
from luthier.studies.tasks import TASKS
from luthier.studies.winner_tables import Results
from luthier.studies.wire import FileRef, Metrics
from luthier.trials.data.repeats import plain_columns
from luthier.trials.data.row_digests import join_digests, row_digests, split_digests
from luthier.trials.data.targets import Targets
from luthier.trials.errors import BadData
from luthier.trials.jobs import card
from luthier.trials.paths import local_path
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.usage import Usage
from luthier.trials.training.open_study import OpenStudy

NAME = "model.tar.gz"
ABOUT = "luthier.json"
"""In the archive: how the model was made."""
SEEN = "luthier-seen.bin"
"""In the archive: digests of the rows that the model was trained or chosen on."""
RESULTS = "results.json"
"""In the archive: the winner's tables; absent where none were made."""
WORK_PREFIX = ".pack-"
"""Folders in which an archive is put together; a folder that is left over comes from a process that was killed."""
FASTEST = 1
"""gzip's level. Weights hardly shrink: the fastest level saves the most time for the least space lost."""
MODE = 0o644
"""Permissions of the archive's members."""


@dataclass(frozen=True)
class PackedModel:
    """An unpacked model.

    Attributes:
        folder: As `save_pretrained` wrote it.
        targets: What it has learned.
        max_length: The length to which its inputs are truncated.
        seen: Digests of the rows on which it was trained or chosen.
        batching: How its inputs are put into batches.
        generation: How it writes texts, as it was scored; None: it writes none.
    """

    folder: Path
    targets: Targets
    max_length: int
    seen: frozenset[bytes]
    batching: Batching = Batching.RIGHT
    generation: Generation | None = None


def unpack(folder: Path, ref: FileRef, work: Path, task: str) -> PackedModel:
    """Unpack a model into a new folder in `work`.

    Args:
        folder: Holds the packed file.
        ref: Its name.
        work: A folder that exists. Two models in it need names that differ before the first dot.
        task: The model's.

    Raises:
        BadData: The file is damaged, or holds something else.
    """
    target = work / ref.name.partition(".")[0]
    cure = "Store the model again, or leave it out of the comparison."
    try:
        unpack_archive(folder / ref.name, target)
    except ArchiveError as error:
        raise BadData(f"{ref.name} cannot be used: {error} {cure}") from None
    try:
        about = json.loads((target / ABOUT).read_text(encoding="utf-8"))
        targets = task_code(task).targets.restore(about)
        max_length = int(about["params"]["max_length"])
        batching = Batching(about.get("batching", Batching.RIGHT))
        generation = _generation(about, task)
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise BadData(f"{ref.name} cannot be used: {ABOUT} in it is missing or damaged ({error}). {cure}") from None
    seen = target / SEEN
    digests = split_digests(seen.read_bytes()) if seen.is_file() else set()
    return PackedModel(target, targets, max_length, frozenset(digests), batching, generation)


def _generation(about: dict[str, Any], task: str) -> Generation | None:
    """Return how a model wrote the texts that it was scored by; None where its task has none. Raises ValueError."""
    if not TASKS[task].generates:
        return None
    own = (about.get("spec") or {}).get("generation")
    return Generation.model_validate(own) if own else Generation(max_new_tokens=TASKS[task].max_new_tokens)


def pack(
    assignment: Assignment,
    study: OpenStudy,
    usage: Usage,
    test: Metrics | None,
    results: Results | None,
    folder: Path,
    check: Callable[[Path, Path], None],
) -> Path:
    """Pack the study's model, as it is in memory, check the archive, and return its path.

    Args:
        assignment: How the model was made.
        study: The model and its data.
        usage: How the packed model is used.
        test: Its metrics on the test split, if there is one.
        results: Its tables, if there are any.
        folder: Where the archive goes; its name is `NAME`, and no reader ever sees one that is not whole or checked.
        check: Called with the archive and an empty folder; what it raises leaves no archive.

    Raises:
        OSError: The files cannot be written.
    """
    work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=folder))
    try:
        inner = work / "model"
        write(assignment, study, usage, test, results, inner)
        write_archive(inner, work / NAME)
        shutil.rmtree(inner)
        check(work / NAME, Path(tempfile.mkdtemp(dir=work)))
        return (work / NAME).replace(folder / NAME)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write(
    assignment: Assignment,
    study: OpenStudy,
    usage: Usage,
    test: Metrics | None,
    results: Results | None,
    folder: Path,
) -> None:
    """Write the study's model, as it is in memory, and all that is packed with it, into a new folder."""
    study.pretrained.model.save_pretrained(folder)
    usage.processor.save_pretrained(folder)
    about = json.dumps(_about(assignment, study, test), indent=2, ensure_ascii=False)
    (folder / ABOUT).write_text(about + "\n", encoding="utf-8")
    if results is not None:
        (folder / RESULTS).write_text(results.model_dump_json(indent=2) + "\n", encoding="utf-8")
    rows = {name: len(split) for name, split in study.data.splits.items()}
    hub = local_path(assignment.model, "model") is None
    text = card.card(assignment, usage, study.learned, rows, test, hub)
    (folder / card.NAME).write_text(text, encoding="utf-8")
    (folder / SEEN).write_bytes(join_digests(_seen(study, assignment.spec.semantics)))


def _seen(study: OpenStudy, semantics: int) -> Iterator[bytes]:
    """Yield the digest of each row that the model was trained or chosen on."""
    for name in ("train", "validation"):
        columns = study.data.splits[name].columns
        yield from row_digests(plain_columns(columns) if semantics >= INPUTS_UNITED else columns)


def _about(assignment: Assignment, study: OpenStudy, test: Metrics | None) -> dict[str, Any]:
    """Return the content of luthier.json: enough to make the model again."""
    return assignment.provenance | {
        "spec": assignment.spec.model_dump(mode="json"),
        "model_sha256": _weights_digest(study.folder),
        "params": assignment.params,
        "seed": assignment.seed,
        **study.learned.about,
        "fingerprint": study.data.fingerprint,
        "test": test,
        "batching": study.batching.value,
        "versions": {
            "luthier": version("luthier"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the base model's weights: of its safetensors files one after another, by name."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as weights:
            hashlib.file_digest(weights, lambda: digest)
    return digest.hexdigest()


def write_archive(folder: Path, target: Path) -> None:
    """Pack a folder's files under their own names; the same files give the same bytes."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        member.mode = MODE
        return member

    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=FASTEST, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            tar.add(file, str(file.relative_to(folder)), filter=plain)
