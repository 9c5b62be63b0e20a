"""A study's examples: read, checked, split (seeded, stratified) and fingerprinted.

Everything that is wrong with them is a BadData whose sentence names the file, the row or column, and the cure.
"""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studies.spec import Dataset, Files
from studies.tasks import TASKS
from trials.session import BadData
from trials.sources import Table, local_path, read_file, read_hub

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_KINDS = {str: "text", int: "whole numbers", bool: "true or false"}


@dataclass(frozen=True)
class Split:
    """Examples in the order of their source: role -> values, and each one's class id."""

    columns: Mapping[str, list[Any]]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Sequence[int]) -> "Split":
        columns = {role: [values[i] for i in rows] for role, values in self.columns.items()}
        return Split(columns, [self.labels[i] for i in rows])


@dataclass(frozen=True)
class Data:
    """Splits train, validation and, where there is one, test. Class id -> label_names[id]."""

    splits: Mapping[str, Split]
    label_names: list[str]
    fingerprint: str  # sha256 of the examples and their splits

    @property
    def labels(self) -> dict[str, int]:
        """Rows per label over all splits."""
        counts = Counter(label for split in self.splits.values() for label in split.labels)
        return {name: counts[i] for i, name in enumerate(self.label_names)}

    @property
    def rows(self) -> dict[str, int]:
        return {name: len(self.splits.get(name, ())) for name in ("train", "validation", "test")}


def load_data(dataset: Dataset, task: str, seed: int) -> Data:
    """Read, check and split. The same files, dataset and seed give the same Data. Raises BadData."""
    roles = _roles(dataset, task)
    tables = _tables(dataset, roles)
    _check_columns(tables, roles, task)
    label = roles.pop("label")
    texts = {name: {role: _texts(table, column) for role, column in roles.items()} for name, table in tables.items()}
    label_names, ids = _labels(tables, label)
    given = {name: Split(columns, ids[name]) for name, columns in texts.items()}
    if dataset.limit is not None:
        given = _limited(given, dataset.limit, seed)
    splits = _split(given, dataset, seed)
    _check_splits(splits, label_names, tables)
    return Data(splits, label_names, _fingerprint(splits, label_names))


def _roles(dataset: Dataset, task: str) -> dict[str, str]:
    """Role -> column. An optional role takes part only when the spec names its column."""
    known = TASKS[task].columns
    for role in dataset.columns:
        if role not in known:
            raise BadData(f"Unknown role {role!r}; {task} has {', '.join(known)}.", "dataset", "columns", role)
    wanted = {role: default for role, (default, required) in known.items() if required}
    return wanted | dataset.columns


def _tables(dataset: Dataset, roles: Mapping[str, str]) -> dict[str, Table]:
    wanted = set(roles.values())
    source = dataset.source
    named = {s: v for s, v in (("validation", dataset.validation), ("test", dataset.test)) if isinstance(v, str)}
    if isinstance(source, Files):
        files = {name: text for name, text in source.model_dump().items() if text is not None}
        chosen = {name: name for name in files} | named
        for split, name in chosen.items():
            if name not in files:
                text = f"There is no file for the split {name!r}; dataset.source has {', '.join(files)}."
                raise BadData(text, "dataset", split)
        return {split: read_file(files[name], wanted, "dataset", "source", name) for split, name in chosen.items()}
    if local_path(source, "dataset", "source") is None:
        return read_hub(source, dataset.subset, {"train": "train"} | named, wanted)
    if named:
        split = next(iter(named))
        text = "One file has no named splits; give a fraction, or files as {train: ..., validation: ..., test: ...}."
        raise BadData(text, "dataset", split)
    return {"train": read_file(source, wanted, "dataset", "source")}


def _check_columns(tables: Mapping[str, Table], roles: Mapping[str, str], task: str) -> None:
    for table in tables.values():
        if table.rows == 0:
            raise BadData(f"{table.name} has no rows; it needs examples.", *table.path)
        for role, column in roles.items():
            if column not in table.header:
                raise BadData(
                    f"{table.name} has no column {column!r} for {role}; its columns are {', '.join(table.header)}. "
                    f"Name the right one in dataset.columns.{role}.",
                    *("dataset", "columns", role),
                )


def _texts(table: Table, column: str) -> list[str]:
    values = table.columns[column]
    for i, value in enumerate(values):
        problem = None
        if value is None or (isinstance(value, str) and not value.strip()):
            problem = "is empty; fill it in or remove the row"
        elif not isinstance(value, str):
            problem = f"holds {type(value).__name__} where text is wanted"
        elif "\0" in value:
            problem = "holds a NUL character; remove it"
        elif not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            problem = "holds half of a surrogate pair, which is no character; remove it"
        if problem:
            raise BadData(f"{table.name}, {table.where(i)}: column {column!r} {problem}.", *table.path)
    return values


def _labels(tables: Mapping[str, Table], column: str) -> tuple[list[str], dict[str, list[int]]]:
    """Label names (index = class id) and each table's class ids. Raises BadData."""
    values = {name: _label_values(table, column) for name, table in tables.items()}
    kinds = {name: type(found[0]) for name, found in values.items()}
    for name, kind in kinds.items():
        if kind is not kinds["train"]:
            raise BadData(
                f"{tables[name].name}: column {column!r} holds {_KINDS[kind]} where {tables['train'].name} holds "
                f"{_KINDS[kinds['train']]}; write the labels alike.",
                *tables[name].path,
            )
    seen = set(values["train"])
    for name, found in values.items():
        for i, value in enumerate(found):
            if value not in seen:
                raise BadData(
                    f"{tables[name].name}, {tables[name].where(i)}: the label {value!r} of {name} does not occur in "
                    "training; add training examples of it or remove the row.",
                    *tables[name].path,
                )
    train = tables["train"]
    if len(seen) < 2:
        text = f"{train.name}: column {column!r} holds one label only ({next(iter(seen))!r}); it needs two or more."
        raise BadData(text, *train.path)
    if len(seen) == train.rows:
        text = f"{train.name}: every row has a label of its own in column {column!r}; is it the right column?"
        raise BadData(text, "dataset", "columns", "label")
    class_names = train.class_names.get(column)
    if class_names is not None and kinds["train"] is int:
        return list(class_names), values
    ids = {value: i for i, value in enumerate(sorted(seen))}
    names = [str(value).lower() if isinstance(value, bool) else str(value) for value in ids]
    return names, {name: [ids[value] for value in found] for name, found in values.items()}


def _label_values(table: Table, column: str) -> list[Any]:
    """The column's labels, all of one type; whole numbers written as text (csv) become numbers."""
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
        elif classes is not None and kind is int and not 0 <= value < len(classes):
            problem = f"holds {value}, which is none of its {len(classes)} classes; is this split labelled?"
        if problem:
            raise BadData(f"{table.name}, {table.where(i)}: column {column!r} {problem}.", *table.path)
    if kind is str and all(map(_INTEGER.fullmatch, values)):
        return [int(value) for value in values]
    if kind is str and all(map(_is_number, values)) and any(map(_is_fraction, values)):
        i = next(i for i, value in enumerate(values) if _is_fraction(value))
        raise BadData(
            f"{table.name}, {table.where(i)}: column {column!r} holds the decimal number {values[i]}; "
            "labels are text or whole numbers.",
            *table.path,
        )
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_fraction(number: str) -> bool:
    """Whether a number's text is of a measure, not of a class: 0.5, but neither 01 nor 2.0."""
    return ("." in number or "e" in number.lower()) and not float(number).is_integer()


def _limited(given: Mapping[str, Split], limit: int, seed: int) -> dict[str, Split]:
    """A sample of `limit` rows over all splits together, with the same share of every label of every split."""
    groups = _grouped([(name, label) for name, split in given.items() for label in split.labels], f"{seed}:limit")
    if limit >= sum(map(len, groups.values())):
        return dict(given)
    if limit < len(groups):
        text = f"{limit} rows cannot hold each of the {len(groups)} labels of each split; raise the limit."
        raise BadData(text, "dataset", "limit")
    quotas = _apportion({g: len(rows) for g, rows in groups.items()}, limit, least=1)
    chosen = sorted(i for group, rows in groups.items() for i in rows[: quotas[group]])
    sampled, offset = {}, 0
    for name, split in given.items():
        sampled[name] = split.take([i - offset for i in chosen if offset <= i < offset + len(split)])
        offset += len(split)
    return sampled


def _split(given: Mapping[str, Split], dataset: Dataset, seed: int) -> dict[str, Split]:
    """Draw the splits that are not given from the training rows; every class keeps a row to train on."""
    pool = given["train"]
    groups = _grouped(pool.labels, f"{seed}:split")
    splits = {name: split for name, split in given.items() if name != "train"}
    for name, share in (("test", dataset.test), ("validation", dataset.validation)):
        if name in given or isinstance(share, str) or share == 0:
            continue
        room = {label: len(rows) - 1 for label, rows in groups.items()}
        quotas = _apportion(room, min(max(1, round(share * len(pool))), sum(room.values())))
        drawn = sorted(i for label, rows in groups.items() for i in rows[: quotas[label]])
        groups = {label: rows[quotas[label] :] for label, rows in groups.items()}
        if not drawn:
            text = f"{len(pool)} rows are too few to draw a {name} split from; add rows or give it a file."
            raise BadData(text, "dataset", name)
        splits[name] = pool.take(drawn)
    train = pool.take(sorted(i for rows in groups.values() for i in rows))
    return {"train": train} | {name: splits[name] for name in ("validation", "test") if name in splits}


def _check_splits(splits: Mapping[str, Split], label_names: list[str], tables: Mapping[str, Table]) -> None:
    if "validation" not in splits:
        raise BadData("There is no validation split; give a fraction or a file.", "dataset", "validation")
    if len(set(splits["train"].labels)) < 2:
        text = f"{tables['train'].name}: after the split fewer than two labels are left to train on; add rows."
        raise BadData(text, *tables["train"].path)


def _grouped(keys: Sequence[Any], seed: str) -> dict[Any, list[int]]:
    """Key -> its rows in a seeded random order; keys in the order of their first row."""
    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    draw = random.Random(seed)  # noqa: S311 - a reproducible split, not a secret
    for rows in groups.values():
        draw.shuffle(rows)
    return groups


def _apportion(sizes: Mapping[Any, int], count: int, least: int = 0) -> dict[Any, int]:
    """Share `count` among groups in proportion to their sizes (largest remainders), each at least `least`."""
    total = sum(sizes.values())
    exact = {group: count * size / total if total else 0.0 for group, size in sizes.items()}
    quotas = {group: min(max(least, int(exact[group])), size) for group, size in sizes.items()}
    order = sorted(sizes, key=lambda group: quotas[group] - exact[group])  # the most wronged first; ties as they come
    while (missing := count - sum(quotas.values())) != 0:
        sign = 1 if missing > 0 else -1
        able = [g for g in order[::sign] if (quotas[g] < sizes[g] if sign > 0 else quotas[g] > least)]
        for group in able[: abs(missing)]:
            quotas[group] += sign
    return quotas


def _fingerprint(splits: Mapping[str, Split], label_names: list[str]) -> str:
    digest = hashlib.sha256(json.dumps(label_names).encode())
    for name, split in splits.items():
        digest.update(json.dumps([name, sorted(split.columns)]).encode())
        columns = [split.columns[role] for role in sorted(split.columns)]
        for row in zip(*columns, split.labels, strict=True):
            digest.update(json.dumps(row).encode())
    return digest.hexdigest()
