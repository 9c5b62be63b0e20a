"""Columns of a table as a task's inputs: every value is checked, and refused with file, row and cure.

`load_data` calls a reader for each role of the task, and `read_groups` where rows are grouped. No value is changed,
except paths, which are resolved, and groups, which become text.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.studies.findings import Finding, warning
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData


def text_fault(text: Any, thing: str = "row") -> str | None:
    """Return the end of a sentence that says why a value is no text, or None; `thing` is what holds the text."""
    nan = isinstance(text, float) and math.isnan(text)
    if text is None or nan or (isinstance(text, str) and not text.strip()):
        return f"is empty; fill it in or remove the {thing}"
    if isinstance(text, dict) and text:  # the hub's translations: {"en": ..., "de": ...}
        keys = ", ".join(map(str, list(text)[:5]))
        return f"holds an object with {keys} where text is wanted; write each of these as a column of its own"
    if not isinstance(text, str):
        return f"holds {type(text).__name__} where text is wanted; write it as text"
    if "\0" in text:
        return "holds a NUL character; remove it"
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        return "holds half of a surrogate pair, which is no character; remove it"
    return None


def texts(table: Table, column: str) -> list[str]:
    """Return a column's texts. Raises BadData."""
    values = table.columns[column]
    for i, value in enumerate(values):
        if problem := text_fault(value):
            raise BadData(f"{table.name}, {table.where(i)}: column {column!r} {problem}.", *table.path)
    return values


def _words(table: Table, column: str) -> list[list[str]]:
    """Return a column's lists of words. Raises BadData."""
    values = table.columns[column]
    for i, value in enumerate(values):
        problem = None
        if not isinstance(value, list):
            problem = (
                f"holds {type(value).__name__} where a list of words is wanted; "
                "write the data as jsonl, parquet or CoNLL"
            )
        elif not value:
            problem = "holds no words; remove the row"
        elif wrong := next(((k, why) for k, word in enumerate(value, 1) if (why := text_fault(word, "word"))), None):
            problem = f"has a word, number {wrong[0]}, that {wrong[1]}"
        if problem:
            raise BadData(f"{table.name}, {table.where(i)}: column {column!r} {problem}.", *table.path)
    return values


def _files(table: Table, column: str) -> list[Any]:
    """Return a column's files and bytes, which `data.media_columns` has checked."""
    return table.columns[column]


COLUMN_READERS: Mapping[str, Callable[[Table, str], list[Any]]] = {
    "text": texts,
    "words": _words,
    "image": _files,
    "audio": _files,
}
"""How a role is read -> the function (table, column) that returns the column's values, checked. It raises BadData."""


def read_groups(table: Table, column: str) -> list[str]:
    """Return each row's group as text: text or a whole number in the table. Raises BadData."""
    values = table.columns[column]
    for i, value in enumerate(values):
        if not isinstance(value, str | int) or value == "":
            problem = "is empty" if value is None or value == "" else f"holds {type(value).__name__}"
            text = f"{table.name}, {table.where(i)}: column {column!r} {problem}; a group is text or a whole number."
            raise BadData(text, *table.path)
    return [str(value) for value in values]


PLACEHOLDERS = "texts-that-stand-for-none"
"""Code of the finding on such texts."""
_PLACEHOLDERS = frozenset({"nan", "NaN", "null", "NULL", "None", "<NA>", "N/A", "n/a", "NA", "undefined", "[deleted]"})


def text_findings(tables: Mapping[str, Table], columns: Sequence[str]) -> list[Finding]:
    """Return a finding for each column with texts that stand for no text, as libraries write them.

    Args:
        tables: Split -> its table, whose texts are checked.
        columns: Those whose values are texts.
    """
    found = []
    for table in tables.values():
        for column in columns:
            values = table.columns[column]
            rows = [i for i, text in enumerate(values) if text in _PLACEHOLDERS]
            if rows:
                shown = [f"{table.where(i)} ({values[i]})" for i in rows[:10]]
                said = f"{table.name}: {len(rows):,} rows of column {column!r} hold what may stand for no text: "
                cure = "Fill them in, or remove their rows."
                found.append(warning(PLACEHOLDERS, f"{said}{', '.join(shown)}.", cure, len(rows), shown))
    return found


def check_apart(inputs: Mapping[str, str], learned: Mapping[str, str], task: str) -> None:
    """Check that no column is what a model reads and what it learns at once.

    Args:
        inputs: Role -> column, of the inputs and the groups.
        learned: Role -> column, of what is learned.
        task: The task's name, for the message.

    Raises:
        BadData: A column is both.
    """
    for role, column in inputs.items():
        for target, other in learned.items():
            if other == column and role not in ("group", target):
                text = f"The column {column!r} is both {role} and {target} of {task}, so models would read what they "
                raise BadData(f"{text}are to say; name another column for one of them.", "dataset", "columns", role)
