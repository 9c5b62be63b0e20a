"""A study's examples: read, checked, split (seeded, stratified) and fingerprinted.

The model cache calls `load_data` once for a study, and again when its files change. Each fault of the data is a BadData
whose sentence names the file, the row or column, and the cure. Nothing here needs a model.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.studies.dataset import Dataset, SplitFiles
from luthier.studies.tasks import TASKS
from luthier.trials.data.columns import COLUMN_READERS, read_groups
from luthier.trials.data.containers import standard_tables
from luthier.trials.data.labels import class_labels, tag_labels
from luthier.trials.data.media_folders import content_digest, find_splits, standard_splits
from luthier.trials.data.sources import (
    HubDataset,
    LocalFolder,
    folder_tables,
    locate,
    media_role,
    read,
    read_hub,
    read_part,
)
from luthier.trials.data.splits import Split, draw_splits, sample
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

__all__ = ["Data", "Split", "load_data"]


@dataclass(frozen=True)
class Data:
    """A study's splits and labels.

    Attributes:
        splits: "train", "validation" and, where there is one, "test" -> its examples.
        label_names: Class id -> label.
        fingerprint: SHA-256 of the examples, images and sounds by their content, and of their splits.
    """

    splits: Mapping[str, Split]
    label_names: list[str]
    fingerprint: str

    @property
    def labels(self) -> dict[str, int]:
        """Label -> its rows over all splits, or its words where words are labelled."""
        counts = Counter(label for split in self.splits.values() for label in _flat(split.labels))
        return {name: counts[i] for i, name in enumerate(self.label_names)}

    @property
    def rows(self) -> dict[str, int]:
        """train, validation, test -> its rows; 0 for a split that is not there."""
        return {name: len(self.splits.get(name, ())) for name in ("train", "validation", "test")}


def _flat(labels: Iterable[Any]) -> Iterable[int]:
    """Yield each class id of labels that are class ids, or lists of them."""
    for label in labels:
        yield from label if isinstance(label, list) else (label,)


def load_data(dataset: Dataset, task: str, seed: int) -> Data:
    """Read, check and split a study's examples. The same files, dataset and seed give the same Data.

    Args:
        dataset: The spec's dataset.
        task: A key of `luthier.studies.tasks.TASKS`.
        seed: The spec's seed, by which rows are sampled and splits are drawn.

    Raises:
        BadData: The data cannot be used as the spec says.
    """
    roles = _roles(dataset, task)
    tables = _tables(dataset, roles)
    _check_columns(tables, roles)
    label = roles.pop("label")
    group = roles.pop("group", None)
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
    """Return role -> column. An optional role is left out unless the spec names its column. Raises BadData."""
    roles = TASKS[task].columns
    for role in dataset.columns:
        if role not in roles:
            raise BadData(f"Unknown role {role!r}; {task} has {', '.join(roles)}.", "dataset", "columns", role)
    return {role: default for role, (default, required) in roles.items() if required} | dataset.columns


def _tables(dataset: Dataset, roles: Mapping[str, str]) -> dict[str, Table]:
    """Read train and the other splits that the dataset gives. Raises BadData."""
    source = dataset.source
    path = ("dataset", "source")
    shares = (("validation", dataset.validation), ("test", dataset.test))
    named = {split: name for split, name in shares if isinstance(name, str)}
    if isinstance(source, SplitFiles):
        files = {split: text for split, text in source.model_dump().items() if text is not None}
        chosen = _choose({name: name for name in files} | named, files, "file")
        return {split: read(locate(files[name], *path, name), roles) for split, name in chosen.items()}
    located = locate(source, *path)
    if isinstance(located, HubDataset):
        return read_hub(located, dataset.subset, {"train": "train"} | named, set(roles.values()))
    if isinstance(located, LocalFolder) and (found := folder_tables(located, roles)):
        standard = {"train": "train"} | standard_tables(found)
        if dataset.test == 0:
            standard.pop("test", None)
        chosen = _choose(standard | named, found, "table")
        return {split: read_part(found[name], f"{source} ({name})", roles, path) for split, name in chosen.items()}
    if isinstance(located, LocalFolder) and media_role(roles) and (folders := find_splits(located.folder)):
        standard = standard_splits(folders)
        if dataset.test == 0:
            standard.pop("test", None)
        chosen = _choose(standard | named, folders, "folder")
        return {split: read(locate(f"{source}/{name}", *path), roles) for split, name in chosen.items()}
    if named:
        text = "One file has no named splits; give a fraction, or files as {train: ..., validation: ..., test: ...}."
        raise BadData(text, "dataset", next(iter(named)))
    return {"train": read(located, roles)}


def _choose(chosen: dict[str, str], names: Iterable[str], kind: str) -> dict[str, str]:
    """Return `chosen`, split -> the name of its file or folder. Raises BadData for one that is not among `names`."""
    for split, name in chosen.items():
        if name not in names:
            text = f"There is no {kind} for the split {name!r}; dataset.source has {', '.join(names)}."
            raise BadData(text, "dataset", split)
    return chosen


def _check_columns(tables: Mapping[str, Table], roles: Mapping[str, str]) -> None:
    """Raise BadData when a table has no rows, or lacks a role's column."""
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
    """Raise BadData when there is no validation split, or training has one label only."""
    if "validation" not in splits:
        raise BadData("There is no validation split; give a fraction or a file.", "dataset", "validation")
    if len(set(_flat(splits["train"].labels))) < 2:
        text = f"{tables['train'].name}: after the split fewer than two labels are left to train on; add rows."
        raise BadData(text, *tables["train"].path)


def _fingerprint(splits: Mapping[str, Split], label_names: list[str]) -> str:
    """Return the SHA-256 of label names and of every row of every split, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(label_names).encode())
    for name, split in splits.items():
        digest.update(json.dumps([name, sorted(split.columns)]).encode())
        columns = [split.columns[role] for role in sorted(split.columns)]
        for row in zip(*columns, split.labels, strict=True):
            digest.update(json.dumps(row, default=content_digest).encode())
    return digest.hexdigest()
