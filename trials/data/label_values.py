"""Values of a label column before they are read: lists of one, numbers and truth values in several types, gaps.

`Targets.alike` calls `plain_labels`, and `label_spellings` after it. What cannot be made of one type for certain stays
as it is, and `labels` refuses it with its row.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import NoneType
from typing import Any

from luthier.trials.data.label_spellings import folded, whole_number
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

GAPS = frozenset(
    (
        "nan",
        "na",
        "n/a",
        "n.a.",
        "#n/a",
        "#na",
        "<na>",
        "<nan>",
        "<null>",
        "none",
        "null",
        "(null)",
        "(none)",
        "(blank)",
        "nil",
        "nat",
        "missing",
        "undefined",
        "-nan",
        "1.#qnan",
        "-1.#ind",
        "#value!",
        "#ref!",
        "-",
        "--",
        "---",
        "\u2013",
        "\u2014",
        "?",
        "??",
        ".",
        "...",
    )
)
"""The words for a missing value, folded: those of pandas, R, SQL, Excel and people."""
_TRUTH = ("true", "false")


def is_gap(label: str) -> bool:
    """Return whether a label is a word for a missing value."""
    return folded(label) in GAPS


def plain_labels(tables: Mapping[str, Table], column: str) -> dict[str, Table]:
    """Return the tables with labels of one type, over all splits, where that is certain.

    A list of one label is that label. Numbers and truth values become text where others are written as text, and
    decimals that are whole (pandas writes them beside gaps) become whole numbers. Class ids of another split become
    those of the training split, by the names that both declare.

    Raises:
        BadData: A row has several labels, or a word for a missing value stands among numbers or truth values.
    """
    plain = {name: _written(table, column, _unlisted(table, column)) for name, table in tables.items()}
    plain = _by_names(plain, column)
    if any(column in table.class_names for table in plain.values()):
        return plain
    kinds = set[type]().union(*(map(type, table.columns[column]) for table in plain.values())) - {NoneType}
    if convert := _conversion(kinds, plain, column):
        for name, table in plain.items():
            plain[name] = _written(table, column, [convert(value) for value in table.columns[column]])
    _check_gaps(plain, column)
    return plain


def _written(table: Table, column: str, values: list[Any]) -> Table:
    same = values is table.columns[column]
    return table if same else replace(table, columns={**table.columns, column: values})


def _unlisted(table: Table, column: str) -> list[Any]:
    """Return the labels without the lists around them. Raises BadData where a list does not hold one label."""
    values = table.columns[column]
    if not any(type(value) is list for value in values):
        return values
    for i, value in enumerate(values):
        if type(value) is list and len(value) != 1:
            count = f"holds a list of {len(value)} labels; each row needs one" if value else "is empty; label the row"
            raise BadData(f"{table.name}, {table.where(i)}: column {column!r} {count}, or remove the row.", *table.path)
    return [value[0] if type(value) is list else value for value in values]


def _by_names(tables: dict[str, Table], column: str) -> dict[str, Table]:
    """Return the tables with one meaning of class ids: that of the training table's names, or names where it has text.

    Raises:
        BadData: A split has a class whose name the training table does not declare.
    """
    train = tables["train"]
    names = train.class_names.get(column)
    texts, numbers = (all(type(value) is kind for value in train.columns[column]) for kind in (str, int))
    found = dict(tables)
    for split, table in tables.items():
        own = table.class_names.get(column)
        if own is not None and own != names and (texts or (names is not None and numbers)):
            values = [own[v] if type(v) is int and 0 <= v < len(own) else v for v in table.columns[column]]
            others = {key: value for key, value in table.class_names.items() if key != column}
            found[split] = replace(_written(table, column, values), class_names=others)
    if names is None or not numbers or len(set(names)) < len(names):
        return found
    ids = {name: i for i, name in enumerate(names)}
    for split, table in found.items():
        values = table.columns[column]
        for i, value in enumerate(values):
            if type(value) is str and value not in ids:
                text = f"{table.name}, {table.where(i)}: {value!r} is none of the classes that {train.name} declares "
                raise BadData(f"{text}for column {column!r}; give both the same class names.", *table.path)
        if any(type(value) is str for value in values):
            known = {**table.class_names, column: names}
            ided = [ids[value] if type(value) is str else value for value in values]
            found[split] = replace(_written(table, column, ided), class_names=known)
    return found


def _conversion(kinds: set[type], tables: Mapping[str, Table], column: str) -> Callable[[Any], Any] | None:
    """Return the function that makes a label of the type that all can have, or None where they are or stay as they are.

    Args:
        kinds: The types of the labels of all splits.
        tables: Split name -> its table.
        column: The label column.
    """
    texts = {v for table in tables.values() for v in table.columns[column] if type(v) is str} if str in kinds else set()
    if kinds == {bool, str} and all(folded(text) in _TRUTH or is_gap(text) for text in texts):
        return lambda value: str(value).lower() if type(value) is bool else value
    several = len(kinds) > 1 or float in kinds
    if several and kinds <= {int, float, str} and all(whole_number(text) or is_gap(text) for text in texts):
        return _as_text if str in kinds else _as_whole
    return None


def _as_whole(value: Any) -> Any:
    return int(value) if type(value) is float and math.isfinite(value) and value.is_integer() else value


def _as_text(value: Any) -> Any:
    whole = _as_whole(value)
    return str(whole) if type(whole) is int else "nan" if type(whole) is float and math.isnan(whole) else whole


def _check_gaps(tables: Mapping[str, Table], column: str) -> None:
    """Raise BadData for a word for a missing value whose other labels are all numbers, or all true and false."""
    labels = {v for table in tables.values() for v in table.columns[column] if type(v) in (str, int, float)}
    gaps = {v for v in labels if (is_gap(v) if type(v) is str else type(v) is float and math.isnan(v))}
    rest = labels - gaps
    if not gaps or not rest:
        return
    numbers = all(not isinstance(v, str) or is_number(v) for v in rest)
    if not numbers and not all(folded(v) in _TRUTH for v in rest if isinstance(v, str)):
        return
    kind = "numbers" if numbers else "true and false"
    for table in tables.values():
        for i, value in enumerate(table.columns[column]):
            if value in gaps or (type(value) is float and math.isnan(value)):
                raise BadData(
                    f"{table.name}, {table.where(i)}: column {column!r} holds {value!r} among {kind}, which means that "
                    "the label is missing; label the row or remove it. If it is a class, give every class a name.",
                    *table.path,
                )


def is_number(text: str) -> bool:
    """Return whether Python reads the text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
