"""Predict: the winner's answers to the rows of a user's table, as a csv file with the table's own columns.

The child calls `predict`. The packed model answers as its users have it answer: in plain float32 and without padding.
Rows keep their order. A row that cannot be used has no answer, and its reason in the column `problem`.
"""

import csv
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.studies.files import atomic_path
from luthier.studies.protocol import Assignment
from luthier.studies.results import Prediction
from luthier.trials.data.splits import Split
from luthier.trials.data.unlabelled import Unlabelled, read_unlabelled
from luthier.trials.errors import Away, BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs import exact
from luthier.trials.jobs.packed_model import PackedModel, unpack
from luthier.trials.model.pretrained import Pretrained, quieten
from luthier.trials.session import Session
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.export import Cell
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.generation import Writing
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache

FILE_NAME = "predictions.csv"
PROBLEM = "problem"
WORK_PREFIX = ".rival-"
"""Folders in which models are unpacked, as those of `compare`: the service removes both alike."""
ROWS, MEDIA_ROWS = 1_000, 64
"""Rows that are encoded together: of texts, and of images or sounds."""


def predict(assignment: Assignment, session: Session, cache: ModelCache) -> Prediction:
    """Answer the rows of `assignment.table` by `assignment.packed`, and write them as `FILE_NAME`.

    Args:
        assignment: Spec, packed model and table.
        session: Its folder holds both, and gets the file.
        cache: Its micro-batch is used.

    Raises:
        BadData: The model or the table cannot be used.
        Ended: The assignment is to end now.
        torch.OutOfMemoryError: A single example does not fit.
    """
    for leftover in session.folder.glob(f"{WORK_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if assignment.packed is None or assignment.table is None:
        raise BadData("There is no model, or no table, to predict with.")
    quieten()
    work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=session.folder))
    try:
        packed = unpack(session.folder, assignment.packed, work, assignment.spec.task)
        name = assignment.table.name
        found = read_unlabelled(session.folder / name, name, assignment.spec, packed.targets)
        answers = _Answers(packed, task_code(assignment.spec.task), session, cache.micro_batch)
        _write(session.folder / FILE_NAME, found, answers)
    except Away as error:  # the table is at fault, not this worker
        raise BadData(error.message) from error
    except BadData as error:
        raise BadData(error.message) from error  # no path: no field of the spec is wrong
    finally:
        shutil.rmtree(work, ignore_errors=True)
    session.log(f"predicted {found.table.rows:,} rows; {len(found.faults):,} of them could not be used")
    return Prediction(rows=found.table.rows, unreadable=len(found.faults), file=file_ref(session.folder / FILE_NAME))


class _Answers:
    """A packed model that answers, loaded when it is first asked."""

    def __init__(self, packed: PackedModel, task: TaskCode[Any], session: Session, micro_batch: MicroBatch) -> None:
        self._packed, self._task, self._session, self._micro_batch = packed, task, session, micro_batch
        self._pretrained: Pretrained | None = None
        self.header = task.cells_header(packed.targets)

    def cells(self, examples: Split) -> Iterator[Sequence[Cell]]:
        """Yield the cells of each example."""
        size = MEDIA_ROWS if {"image", "audio"} & set(examples.columns) else ROWS
        for start in range(0, len(examples), size):
            yield from self._chunk(examples.take(range(start, min(start + size, len(examples)))))

    def _chunk(self, examples: Split) -> Iterator[Sequence[Cell]]:
        packed, task = self._packed, self._task
        if self._pretrained is None:
            task.check(packed.folder, "the winner")
            self._pretrained = task.load(packed.folder, "the winner", packed.targets)
        model = self._pretrained.model
        encoded = task.encode_unlabelled(self._pretrained, examples, packed.max_length).batched(packed.batching)
        by_example = exact.ByExample(task, encoded)
        targets = packed.targets.in_data()
        writing = None if packed.generation is None else Writing(packed.generation)
        statistics = exact.measure(
            model,
            task,
            self._micro_batch,
            encoded,
            targets,
            self._session.poll,
            packed.targets,
            writing,
            by_example.add,
        )
        said = list(task.said(statistics, encoded, targets))
        offsets = range(len(examples) + 1) if statistics.offsets is None else statistics.offsets.tolist()
        for example, values in enumerate(by_example.values()):
            yield task.cells(said[offsets[example] : offsets[example + 1]], values, targets)


def _write(path: Path, found: Unlabelled, answers: _Answers) -> None:
    """Write the table with the answers beside its columns."""
    table = found.table
    columns = [column for column in table.header if column in table.columns]
    own = [*answers.header, *([PROBLEM] if found.faults else [])]
    header = [name if name not in columns else f"{name} (predicted)" for name in own]
    nothing: list[Cell] = [None] * len(answers.header)
    cells = answers.cells(found.examples)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, *header])
        for row in range(table.rows):
            fault = found.faults.get(row)
            said = nothing if fault is not None else next(cells)
            given = (_cell(table.columns[column][row]) for column in columns)
            writer.writerow([*given, *said, *([fault] if found.faults else [])])


def _cell(value: Any) -> Cell:
    """Return a value of a table as text; of a file's bytes nothing but its name, if it has one."""
    if isinstance(value, bytes | bytearray | memoryview):
        return None
    if isinstance(value, Mapping) and "bytes" in value:
        return str(value.get("path") or "")
    if isinstance(value, list | tuple | Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value if value is None or isinstance(value, str | int | float) else str(value)
