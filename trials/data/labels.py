"""Labels: the values of a label column, checked, as class ids and their names.

`load_data` calls `class_labels` for tasks with one label for each row, and `tag_labels` where each word has one. Every
BadData names the file, the row and the cure.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from luthier.trials.data.label_values import is_number
from luthier.trials.data.tabular import Table
from luthier.trials.data.tags import split_tag
from luthier.trials.errors import BadData

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
CLOSE = 0.8
"""The least similarity (difflib's ratio) of a label that is suggested in place of an unknown one."""
_KINDS = {str: "text", int: "whole numbers", bool: "true or false"}


def class_labels(tables: Mapping[str, Table], column: str) -> tuple[list[str], dict[str, list[int]]]:
    """Turn a column of labels into class ids.

    Args:
        tables: Split name -> its table, one or more rows each; "train" is there.
        column: The label column, which each table has.

    Returns:
        Label names (index = class id), and split name -> each row's class id. Ids follow the order of the labels; where
        the training table names its integer classes, names and ids are its own.

    Raises:
        BadData: A label is missing or of the wrong type, is not in training, or the labels do not tell rows apart.
    """
    values = {name: _label_values(table, column) for name, table in tables.items()}
    _check_classes(tables, column, values)
    train = tables["train"]
    class_names = train.class_names.get(column)
    if class_names is not None and type(values["train"][0]) is int:
        return list(class_names), values
    ids = {value: i for i, value in enumerate(sorted(set(values["train"])))}
    names = [str(value).lower() if isinstance(value, bool) else str(value) for value in ids]
    return names, {name: [ids[value] for value in column_values] for name, column_values in values.items()}


def _check_classes(tables: Mapping[str, Table], column: str, values: Mapping[str, list[Any]]) -> None:
    """Raise BadData when splits hold labels of different types, or training lacks a label, or has too few or many."""
    train = tables["train"]
    kinds = {name: type(labels[0]) for name, labels in values.items()}
    for name, kind in kinds.items():
        if kind is not kinds["train"]:
            raise BadData(
                f"{tables[name].name}: column {column!r} holds {_KINDS[kind]} where {train.name} holds "
                f"{_KINDS[kinds['train']]}; write the labels alike.",
                *tables[name].path,
            )
    in_training = set(values["train"])
    for name, labels in values.items():
        for i, value in enumerate(labels):
            if value not in in_training:
                raise unknown_label(tables[name], i, name, value, in_training)
    if len(in_training) < 2:
        label = next(iter(in_training))
        text = f"{train.name}: column {column!r} holds one label only ({label!r}); it needs two or more."
        raise BadData(text, *train.path)
    if len(in_training) == train.rows:
        text = f"{train.name}: every row has a label of its own in column {column!r}; is it the right column?"
        raise BadData(text, "dataset", "columns", "label")


def unknown_label(table: Table, row: int, split: str, value: Any, known: Iterable[Any]) -> BadData:
    """Return the error that a row of a split has a label that is not in training, with the nearest of the `known`."""
    near = get_close_matches(str(value), [str(label) for label in known], 1, CLOSE)
    guess = f" (did you mean {near[0]!r}?)" if near and isinstance(value, str) else ""
    return BadData(
        f"{table.name}, {table.where(row)}: the label {value!r} of {split} does not occur in "
        f"training{guess}; add training examples of it or remove the row.",
        *table.path,
    )


def _label_values(table: Table, column: str) -> list[Any]:
    """Return a column's labels, all of one type; whole numbers written as text (csv) become numbers. Raises BadData."""
    values = table.columns[column]
    classes = table.class_names.get(column)
    kind = type(values[0])
    for i, value in enumerate(values):
        problem = None
        if value is None or (isinstance(value, str) and not value.strip()):
            problem = "is empty; label the row or remove it"
        elif isinstance(value, float):
            problem = f"holds the decimal number {value}; labels are text, whole numbers or true and false"
        elif not isinstance(value, str | int):
            problem = f"holds {type(value).__name__}; labels are text, whole numbers or true and false"
        elif type(value) is not kind:
            problem = f"holds {value!r} where {table.where(0)} holds {values[0]!r}; labels must be of one type"
        elif isinstance(value, str) and not value.isprintable():
            problem = f"holds the label {value!r} with a character that cannot be printed; remove it"
        elif classes is not None and kind is int and isinstance(value, int) and not 0 <= value < len(classes):
            problem = f"holds {value}, which is none of its {len(classes)} classes; is this split labelled?"
        if problem:
            raise BadData(f"{table.name}, {table.where(i)}: column {column!r} {problem}.", *table.path)
    if kind is str and all(map(_INTEGER.fullmatch, values)):
        return [int(value) for value in values]
    if kind is str and all(map(is_number, values)) and any(map(_is_fraction, values)):
        i = next(i for i, value in enumerate(values) if _is_fraction(value))
        raise BadData(
            f"{table.name}, {table.where(i)}: column {column!r} holds the decimal number {values[i]}; "
            "labels are text or whole numbers.",
            *table.path,
        )
    return values


def _is_fraction(number: str) -> bool:
    """Return whether a number, as text, measures something instead of naming a class: 0.5, but neither 01 nor 2.0."""
    return ("." in number or "e" in number.lower()) and not float(number).is_integer()


def tag_labels(
    tables: Mapping[str, Table], column: str, words: Mapping[str, list[list[str]]]
) -> tuple[list[str], dict[str, list[list[int]]]]:
    """Turn a column of tag lists into class ids.

    A kind of entity must occur in training. A tag of such a kind may first occur in another split (I-PER, say).

    Args:
        tables: Split name -> its table; "train" is there.
        column: The tag column, which each table has.
        words: Split name -> the words of each row.

    Returns:
        Tag names (index = class id; O is first), and split name -> the class id of each word of each row.

    Raises:
        BadData: A row has no tag for each word, a tag is unusable or of an unknown kind, or there is one tag only.
    """
    tags = {
        name: [_tags(table, column, i, words[name][i]) for i in range(table.rows)] for name, table in tables.items()
    }
    train = tables["train"]
    in_training = {tag for row in tags["train"] for tag in row}
    _check_kinds(tables, tags, {split_tag(tag)[1] for tag in ("O", *in_training)})
    if len(in_training) < 2:
        tag = next(iter(in_training))
        text = f"{train.name}: column {column!r} holds one tag only ({tag!r}); it needs two or more."
        raise BadData(text, *train.path)
    used = {tag for rows in tags.values() for row in rows for tag in row}
    named = train.class_names.get(column, [])
    names = sorted((*named, *sorted(used - set(named))), key="O".__ne__)  # stable: O first, the rest as they are
    ids = {tag: i for i, tag in enumerate(names)}
    return names, {name: [[ids[tag] for tag in row] for row in rows] for name, rows in tags.items()}


def _check_kinds(tables: Mapping[str, Table], tags: Mapping[str, list[list[str]]], kinds: set[str]) -> None:
    """Raise BadData for a tag of a kind that is not among `kinds`, those of the training tags."""
    for name, rows in tags.items():
        for i, row in enumerate(rows):
            for tag in row:
                if split_tag(tag)[1] not in kinds:
                    raise BadData(
                        f"{tables[name].name}, {tables[name].where(i)}: the tag {tag!r} of {name} is of a kind that "
                        "does not occur in training; add training examples of it or remove the row.",
                        *tables[name].path,
                    )


def _tags(table: Table, column: str, row: int, words: list[str]) -> list[str]:
    """Return a sentence's tags as text. Raises BadData."""
    tags = table.columns[column][row]
    classes = table.class_names.get(column)
    problem = None
    if not isinstance(tags, list):
        problem = f"holds {type(tags).__name__} where a list of tags is wanted, one a word"
    elif len(tags) != len(words):
        problem = f"holds {len(tags)} tags for {len(words)} words; give each word its tag"
    else:
        for tag in tags:
            if isinstance(tag, int) and classes is None:
                problem = f"holds the number {tag}, whose meaning is not known; write tags as text (O, B-PER, I-PER)"
            elif isinstance(tag, int) and not 0 <= tag < len(classes or ()):
                problem = f"holds {tag}, which is none of its {len(classes or ())} classes; is this split labelled?"
            elif not isinstance(tag, int | str) or (isinstance(tag, str) and not (tag.strip() and tag.isprintable())):
                problem = f"holds the tag {tag!r}; tags are text (O, B-PER, I-PER)"
            if problem:
                break
    if problem:
        raise BadData(f"{table.name}, {table.where(row)}: column {column!r} {problem}.", *table.path)
    return [classes[tag] if classes is not None and isinstance(tag, int) else tag for tag in tags]
