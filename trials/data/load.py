"""A study's examples: read, checked, split (seeded, stratified) and fingerprinted.

Everything that is wrong with them is a BadData whose sentence names the file, the row or column, and the cure.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.studies.dataset import Dataset, SplitFiles
from luthier.studies.tasks import TASKS
from luthier.trials.data.columns import COLUMN_READERS
from luthier.trials.data.columns import groups as read_groups
from luthier.trials.data.labels import class_labels, tag_labels
from luthier.trials.data.media_folders import SUFFIXES, content_digest, find_splits, read_folder, standard_splits
from luthier.trials.data.sources import read_file, read_hub
from luthier.trials.data.splits import Split, draw_splits, sample
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData
from luthier.trials.paths import local_path

__all__ = ["Data", "Split", "load_data"]


@dataclass(frozen=True)
class Data:
    """Splits train, validation and, where there is one, test. Class id -> label_names[id]."""

    splits: Mapping[str, Split]
    label_names: list[str]
    fingerprint: str  # sha256 of the examples, images and sounds by their content, and of their splits

    @property
    def labels(self) -> dict[str, int]:
        """Rows per label over all splits; words per label where words are labelled."""
        counts = Counter(label for split in self.splits.values() for label in _flat(split.labels))
        return {name: counts[i] for i, name in enumerate(self.label_names)}

    @property
    def rows(self) -> dict[str, int]:
        return {name: len(self.splits.get(name, ())) for name in ("train", "validation", "test")}


def _flat(labels: Iterable[Any]) -> Iterable[int]:
    for label in labels:
        yield from label if isinstance(label, list) else (label,)


def load_data(dataset: Dataset, task: str, seed: int) -> Data:
    """Read, check and split. The same files, dataset and seed give the same Data. Raises BadData."""
    roles = _roles(dataset, task)
    tables = _tables(dataset, roles)
    _check_columns(tables, roles)
    label, group = roles.pop("label"), roles.pop("group", None)
    columns = {
        name: {role: COLUMN_READERS[role](table, column) for role, column in roles.items()}
        for name, table in tables.items()
    }
    label_names: list[str]
    ids: Mapping[str, list[Any]]
    if "tokens" in roles:
        label_names, ids = tag_labels(tables, label, {name: columns[name]["tokens"] for name in tables})
    else:
        label_names, ids = class_labels(tables, label)
    groups = {name: read_groups(table, group) if group else None for name, table in tables.items()}
    given = {name: Split(columns[name], ids[name], groups[name]) for name in tables}
    _check_groups(given, tables)
    if dataset.limit is not None:
        given = sample(given, dataset.limit, seed, by_content=dataset.draw == "stable")
    splits = draw_splits(given, dataset, seed)
    _check_splits(splits, tables)
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
    """train and the other splits that are given -> their tables."""
    source, path = dataset.source, ("dataset", "source")
    named = {s: v for s, v in (("validation", dataset.validation), ("test", dataset.test)) if isinstance(v, str)}
    if isinstance(source, SplitFiles):
        files = {name: text for name, text in source.model_dump().items() if text is not None}
        chosen = _choose({name: name for name in files} | named, files, "file")
        return {split: _read(files[name], roles, *path, name) for split, name in chosen.items()}
    local = local_path(source, *path)
    if local is None:
        return read_hub(source, dataset.subset, {"train": "train"} | named, set(roles.values()))
    folders = find_splits(local) if local.is_dir() and _media_role(roles) else {}
    if folders:
        standard = {s: name for s, name in standard_splits(folders).items() if s != "test" or dataset.test != 0}
        chosen = _choose(standard | named, folders, "folder")
        return {split: _read(f"{source}/{name}", roles, *path) for split, name in chosen.items()}
    if named:
        split = next(iter(named))
        text = "One file has no named splits; give a fraction, or files as {train: ..., validation: ..., test: ...}."
        raise BadData(text, "dataset", split)
    return {"train": _read(source, roles, *path)}


def _choose(chosen: dict[str, str], known: Iterable[str], kind: str) -> dict[str, str]:
    """Split -> the file or folder that serves as it. Raises BadData for one that is not there."""
    for split, name in chosen.items():
        if name not in known:
            text = f"There is no {kind} for the split {name!r}; dataset.source has {', '.join(known)}."
            raise BadData(text, "dataset", split)
    return chosen


def _read(text: str, roles: Mapping[str, str], *path: str) -> Table:
    """A file's table, or that of a folder where the task is one of images or sounds."""
    role = _media_role(roles)
    local = local_path(text, *path)
    if role is None or local is None or not local.is_dir():
        return read_file(text, set(roles.values()), *path)
    for other, column in roles.items():
        if other not in (role, "label") or column != other:
            text = f"{text} is a folder: its files are the {role}s, its subfolders the labels, and it has no columns; "
            raise BadData(f"{text}remove this, or list the files in a csv.", "dataset", "columns", other)
    return read_folder(local, text, role, *path)


def _media_role(roles: Iterable[str]) -> str | None:
    return next((role for role in roles if role in SUFFIXES), None)


def _check_columns(tables: Mapping[str, Table], roles: Mapping[str, str]) -> None:
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


def _check_groups(given: Mapping[str, Split], tables: Mapping[str, Table]) -> None:
    """Raise BadData when a group occurs in two of the splits that were given."""
    owner: dict[str, str] = {}
    for name, split in given.items():
        for group in split.groups or ():
            if owner.setdefault(group, name) != name:
                text = (
                    f"The group {group!r} occurs in {tables[owner[group]].name} and in {tables[name].name}; "
                    "move its rows into one of them, or leave out dataset.columns.group."
                )
                raise BadData(text, "dataset", "columns", "group")


def _check_splits(splits: Mapping[str, Split], tables: Mapping[str, Table]) -> None:
    if "validation" not in splits:
        raise BadData("There is no validation split; give a fraction or a file.", "dataset", "validation")
    if len(set(_flat(splits["train"].labels))) < 2:
        text = f"{tables['train'].name}: after the split fewer than two labels are left to train on; add rows."
        raise BadData(text, *tables["train"].path)


def _fingerprint(splits: Mapping[str, Split], label_names: list[str]) -> str:
    digest = hashlib.sha256(json.dumps(label_names).encode())
    for name, split in splits.items():
        digest.update(json.dumps([name, sorted(split.columns)]).encode())
        columns = [split.columns[role] for role in sorted(split.columns)]
        for row in zip(*columns, split.labels, strict=True):
            digest.update(json.dumps(row, default=content_digest).encode())
    return digest.hexdigest()
