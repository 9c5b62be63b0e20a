"""Labels of which a row has any number: lists of them, read and checked, with one spelling for each.

`LabelSetTargets` calls these functions, and `load_data` splits texts at the separator of the spec with `separated`
before. Every BadData names the file, the row and the cure.
"""

import ast
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from luthier.studies.findings import Finding, note
from luthier.studies.wire import cut
from luthier.trials.data.label_spellings import label_key, merged_finding, one_spelling
from luthier.trials.data.labels import unknown_label
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

_LISTED = re.compile(r"\s*\[.*\]\s*", re.DOTALL)
SEPARATORS = ("|", ";", ",", "\t", "/")
"""Marks that part labels in a text; the last one also parts levels of a label."""


def separated(table: Table, column: str, separator: str) -> Table:
    """Return the table with each text of a column as the list of its parts; an empty text has none.

    Raises:
        BadData: A value is a list already, or no text.
    """
    lists: list[list[str]] = []
    for i, value in enumerate(table.columns[column]):
        if value is None:  # a csv file's empty cell
            lists.append([])
            continue
        if isinstance(value, str) and not _is_written_list(value):
            lists.append([part.strip() for part in value.split(separator) if part.strip()])
            continue
        if isinstance(value, str):
            problem = (
                f"holds a list written as text ({cut(value, 60)!r}), which {separator!r} does not take apart; write "
                "lists as jsonl or parquet without dataset.label_separator, or labels without brackets and quotes"
            )
        elif isinstance(value, list):
            problem = (
                f"holds a list, so that nothing separates labels; leave out dataset.label_separator ({separator!r})"
            )
        else:
            problem = f"holds {value!r}, no text that {separator!r} could separate; write labels as text"
        raise BadData(f"{table.name}, {table.where(i)}: column {column!r} {problem}.", *table.path)
    return replace(table, columns={**table.columns, column: lists})


def _is_written_list(text: str) -> bool:
    """Return whether a text is a list of texts or numbers, as JSON or Python writes it."""
    if not _LISTED.fullmatch(text):
        return False
    try:
        return isinstance(ast.literal_eval(text.strip()), list)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def merge_sets(tables: Mapping[str, Table], column: str) -> tuple[dict[str, Table], list[Finding]]:
    """Return the tables with one spelling for each label, and each label once in a row, and what was changed.

    Whole numbers become text where other labels are text, and names where the table declares these.

    Raises:
        BadData: A row has no list of labels.
    """
    lists = {name: _named(table, column) for name, table in tables.items()}
    every = [label for rows in lists.values() for row in rows for label in row]
    if any(isinstance(label, str) for label in every):
        lists = {name: [[str(label) for label in row] for row in rows] for name, rows in lists.items()}
    counts = Counter(str(label) for label in every)
    texts = {label for label in every if isinstance(label, str)}
    declared = [name for table in tables.values() for name in table.class_names.get(column, ())]
    known = {label: counts[label] for label in texts}
    names = one_spelling(known, label_key([*texts, *declared]), declared) if texts else {}
    findings = merged_finding(names, counts, "rows")
    changed: dict[str, Table] = {}
    for name, table in tables.items():
        rows = [[names.get(label, label) for label in row] for row in lists[name]]
        single = [list(dict.fromkeys(row)) for row in rows]
        findings += _repeated(table, column, rows, single)
        changed[name] = replace(table, columns={**table.columns, column: single})
    return changed, findings


def _repeated(table: Table, column: str, rows: list[list[Any]], single: list[list[Any]]) -> list[Finding]:
    found = [i for i, (row, once) in enumerate(zip(rows, single, strict=True)) if len(row) > len(once)]
    if not found:
        return []
    shown = [f"{table.where(i)} ({', '.join(map(str, rows[i]))})" for i in found[:10]]
    text = f"{table.name}: {len(found):,} rows of column {column!r} have a label twice: {', '.join(shown)}."
    return [note("labels-twice-in-a-row", text, len(found), shown, "It counts once.")]


def _named(table: Table, column: str) -> list[list[Any]]:
    """Return the labels of each row, checked; numbers of declared classes by their names. Raises BadData."""
    names = table.class_names.get(column)
    rows = table.columns[column]
    for i, row in enumerate(rows):
        if problem := _fault(row, names):
            raise BadData(f"{table.name}, {table.where(i)}: column {column!r} {problem}.", *table.path)
    widths = {len(row) for row in rows}
    ones = {label for row in rows for label in row}
    if (
        names is None
        and len(rows) > 1
        and widths
        and len(widths) == 1
        and ones in ({0, 1}, {"0", "1"})
        and min(widths) > 1
    ):
        text = f"{table.name}: column {column!r} holds zeros and ones, a place for each label; "
        raise BadData(f"{text}write the names of the labels that a row has instead.", *table.path)
    return rows if names is None else [[names[v] if isinstance(v, int) else v for v in row] for row in rows]


def _fault(row: Any, names: Sequence[str] | None) -> str | None:
    """Return the end of a sentence that says what is wrong with a row's labels, or None."""
    if row is None:
        return "is empty; write [] for a row without a label, or remove the row"
    if isinstance(row, str):
        if _LISTED.fullmatch(row):
            return f"holds a list written as text ({cut(row, 60)!r}); write lists as jsonl or parquet"
        mark = next((mark for mark in SEPARATORS if mark in row), "|")
        return (
            f"holds the text {cut(row, 60)!r} where a list of labels is wanted; write lists as jsonl or parquet, or "
            f"say what separates labels: dataset.label_separator, such as {mark!r}"
        )
    if isinstance(row, dict):
        shown = cut(repr(row), 60)
        return f"holds {shown} where a list of labels is wanted; write the names of those that it has, as a list"
    if not isinstance(row, list):
        return f"holds {row!r} where a list of labels is wanted; write one, [{row!r}] say"
    for label in row:
        if label is None or (isinstance(label, str) and not label.strip()):
            return "has an empty label; write [] for a row without one"
        if isinstance(label, bool | float) or not isinstance(label, str | int):
            return f"has the label {label!r}; labels are text or whole numbers"
        if isinstance(label, str) and not label.isprintable():
            return f"has the label {label!r} with a character that cannot be printed; remove it"
        if isinstance(label, int) and names is not None and not 0 <= label < len(names):
            return f"has {label}, which is none of its {len(names)} classes; is this split labelled?"
    return None


def label_sets(tables: Mapping[str, Table], column: str) -> tuple[list[str], dict[str, list[list[int]]]]:
    """Turn a column of lists of labels into class ids.

    Args:
        tables: Split name -> its table; "train" is there.
        column: The label column, which each table has.

    Returns:
        Label names (index = class id), as declared or sorted, and split name -> each row's class ids, ascending.

    Raises:
        BadData: A row has no list of labels, a label is not in training, or there are fewer than two.
    """
    lists = {name: _named(table, column) for name, table in tables.items()}
    train = tables["train"]
    in_training = {label for row in lists["train"] for label in row}
    if len({type(label) for rows in lists.values() for row in rows for label in row}) > 1:
        raise BadData(f"{train.name}: column {column!r} holds text and numbers; write labels alike.", *train.path)
    for name, rows in lists.items():
        for i, row in enumerate(rows):
            for label in row:
                if label not in in_training:
                    raise unknown_label(tables[name], i, name, label, in_training)
    if len(in_training) < 2:
        held = f"one label only ({next(iter(in_training))!r})" if in_training else "no label"
        text = f"{train.name}: column {column!r} holds {held}; it needs two or more. If rows have it or have it not, "
        raise BadData(f"{text}write two classes and choose a classification task.", *train.path)
    declared = train.class_names.get(column, [])
    ordered = [*declared, *sorted(in_training - set(declared))]
    ids = {label: i for i, label in enumerate(ordered)}
    return [str(label) for label in ordered], {
        name: [sorted({ids[label] for label in row}) for row in rows] for name, rows in lists.items()
    }
