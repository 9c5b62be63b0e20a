"""A table whose rows are to be predicted: its inputs read as a study's data was, and all of its columns kept.

`jobs.predict` calls it. Nothing is learned here, so no row needs a label. A row that cannot be used is no fault of the
table: it is left out of the inputs, with its reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.studies.spec import StudySpec
from luthier.studies.tasks import TASKS
from luthier.trials.data.columns import text_fault
from luthier.trials.data.conversations import to_be_answered
from luthier.trials.data.images import try_image
from luthier.trials.data.media import Unreadable
from luthier.trials.data.media_columns import in_threads
from luthier.trials.data.media_paths import Fault, Item, located
from luthier.trials.data.media_tree import listed
from luthier.trials.data.readers import read_file
from luthier.trials.data.sounds import try_audio
from luthier.trials.data.splits import Split
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import Targets
from luthier.trials.errors import BadData
from luthier.trials.paths import kind_of, local_path

_TRIES = {"image": try_image, "audio": try_audio}
_SHOWN = 20  # columns that a message names
_NO_ROWS = "{name} has no rows; it needs one at least."


@dataclass(frozen=True)
class Unlabelled:
    """Rows to be predicted.

    Attributes:
        table: Every column of the table, as it was read.
        examples: The rows that can be used, with blank targets.
        rows: Their numbers in the table.
        faults: Number of each other row -> the sentence that says why it cannot be used.
    """

    table: Table
    examples: Split
    rows: list[int]
    faults: Mapping[int, str] = field(default_factory=dict)


def read_unlabelled(file: Path, name: str, spec: StudySpec, targets: Targets) -> Unlabelled:
    """Read a table with the columns that a study's models read.

    Args:
        file: The table.
        name: Its name for messages, by whose ending its kind is known.
        spec: The study's, which names the columns.
        targets: What the model has learned.

    Raises:
        BadData: It is no table, has no rows, or lacks a column.
    """
    roles = input_roles(spec, targets)
    table = read_file(file, name, roles, ())
    missing = [f"{column!r} for {role}" for role, column in roles.items() if column not in table.header]
    if missing:
        told = f"{name} has no column{'s' * (len(missing) > 1)} {' and '.join(missing)}"
        shown = listed([column for column in table.header if column], _SHOWN) or "none"
        raise BadData(f"{told}; its columns are {shown}. Rename the right one{'s' * (len(missing) > 1)}.")
    if not table.rows:
        raise BadData(_NO_ROWS.format(name=name))
    whole = _whole(file, name, roles, table)
    found, faults = _inputs(replace(table, folder=_base_folder(spec)), roles, spec)
    rows = [row for row in range(table.rows) if row not in faults]
    columns = {role: [values[row] for row in rows] for role, values in found.items()}
    targets_of_rows = targets.blanks(columns, len(rows)) if rows else []
    return Unlabelled(whole, Split(columns, targets_of_rows), rows, faults)


def input_roles(spec: StudySpec, targets: Targets) -> dict[str, str]:
    """Return role -> column, of what the study's models read."""
    named = spec.dataset.columns
    choices = spec.task_info.choices(named)
    learned = targets.about.get("learns")  # what rows are, where a task has alternatives
    roles = next((choice for choice in choices if learned in choice), choices[0]) | named
    reads = {role: read.reads for role, read in TASKS[spec.task].columns.items()}
    return {role: column for role, column in roles.items() if reads[role] not in ("target", "group")}


def _whole(file: Path, name: str, roles: Mapping[str, str], table: Table) -> Table:
    """Return the table with all of its columns; of a table with a word a row, only those that were read."""
    if "tokens" in roles and kind_of(name) not in ("json", "jsonl", "parquet", "arrow"):
        return table
    every = {column: column for column in table.header if column}
    return read_file(file, name, {**every, **roles}, ())


def _base_folder(spec: StudySpec) -> Path | None:
    """Return the folder that relative paths start from: that of the study's own data; None where it lies elsewhere."""
    source = spec.dataset.source
    text = source if isinstance(source, str) else next(iter(source.model_dump(exclude_none=True).values()))
    try:
        found = local_path(text)
    except BadData:
        return None
    return found if found is None or found.is_dir() else found.parent


def _inputs(table: Table, roles: Mapping[str, str], spec: StudySpec) -> tuple[dict[str, list[Any]], dict[int, str]]:
    """Return role -> the values of all rows, and number of a row that cannot be used -> why."""
    faults: dict[int, str] = {}
    found: dict[str, list[Any]] = {}
    for role, column in roles.items():
        reads = TASKS[spec.task].columns[role].reads
        values = table.columns[column]
        if reads in _TRIES:
            values = _files(table, column, reads)
            said = [value.reason if isinstance(value, Fault) else None for value in values]
        elif reads == "messages":
            values, said = _conversations(values)
        elif reads == "words":
            said = [_words_fault(value) for value in values]
        else:
            said = [text_fault(value) for value in values]
        found[role] = values
        for row, fault in enumerate(said):
            if fault is not None:
                told = fault if isinstance(values[row], Fault) else f"column {column!r} {fault}"
                faults.setdefault(row, f"{table.where(row)}: {told}.")
    return found, faults


def _files(table: Table, column: str, kind: str) -> list[Item | Fault]:
    """Return each row's image or sound, located and tried."""

    def tried(cell: Any) -> Item | Fault:
        item = located(table, column, cell)
        if isinstance(item, Fault):
            return item
        try:
            _TRIES[kind](item)
        except Unreadable as error:
            return Fault(f"column {column!r}: its {kind} {error}; {error.cure}")
        return item

    return in_threads(tried, table.columns[column])


def _conversations(values: list[Any]) -> tuple[list[Any], list[str | None]]:
    """Return the messages of each conversation that are to be answered, and why one cannot be."""
    found: list[Any] = []
    said: list[str | None] = []
    for value in values:
        try:
            found.append(to_be_answered(value))
            said.append(None)
        except ValueError as problem:
            found.append(None)
            said.append(str(problem))
    return found, said


def _words_fault(value: Any) -> str | None:
    """Return the end of a sentence that says why a value is no list of words, or None."""
    if not isinstance(value, list):
        return f"holds {type(value).__name__} where a list of words is wanted; write the table as jsonl or parquet"
    if not value:
        return "holds no words; remove the row"
    wrong = next(((k, why) for k, word in enumerate(value, 1) if (why := text_fault(word, "word"))), None)
    return None if wrong is None else f"has a word, number {wrong[0]}, that {wrong[1]}"
