"""Columns of images or sounds: each row's file is located and tried, and all that cannot be used is told at once.

`load_data` calls `usable_tables` before rows are sampled and, at a study's inspection, `try_rest` after: a broken file
must not show in the middle of a search, nor one a restart. Files are tried in threads, which decoders do not hold up.
"""

import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from luthier.studies.findings import Finding, note, warning
from luthier.trials.data.media import Unreadable, try_audio, try_image
from luthier.trials.data.media_tree import listed
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData
from luthier.trials.paths import check_inside_roots

Item = Path | bytes
_TRIES: Mapping[str, Callable[[Item], bool]] = {"image": try_image, "audio": try_audio}
_THREADS = 4
_NAMED = 10  # files that a message names
_CURE = "Repair or remove them, or leave them out with dataset.unreadable: skip"


@dataclass(frozen=True)
class _Fault:
    """An item that cannot be used: the end of a sentence that says why."""

    reason: str


@dataclass(frozen=True)
class Usable:
    """Tables whose column of images or sounds holds resolved paths and bytes.

    Attributes:
        tables: Split -> its table, without the rows that are left out.
        role: "image" or "audio".
        left_out: SHA-256 of the names of the rows that are left out, None where there are none.
        findings: What is left out, and what is silent.
    """

    tables: dict[str, Table]
    role: str
    left_out: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def try_rest(self, column: str, chosen: Iterable[Sequence[Item]]) -> None:
        """Try the rows that were chosen of the tables, and add to the findings how many are silent.

        Args:
            column: The column of images or sounds.
            chosen: Items of the tables' columns, for each split.

        Raises:
            BadData: A file cannot be used.
        """
        wanted = {id(item) for items in chosen for item in items}
        tables = {}
        for split, table in self.tables.items():
            rows = [row for row, item in enumerate(table.columns[column]) if id(item) in wanted]
            tables[split] = _taken(table, rows)
        found = {split: table.columns[column] for split, table in tables.items()}
        tried, silent = _tried(tables, found, self.role)
        _check(tables, tried, self.role)
        self.findings.extend(silent)


def usable_tables(tables: Mapping[str, Table], role: str, column: str, skip: bool) -> Usable:
    """Locate each row's file, and leave out or refuse what cannot be used.

    Args:
        tables: Split -> its table, with the column.
        role: "image" or "audio".
        column: Of paths, bytes, or the dictionaries of both that the `datasets` library writes.
        skip: Leave out the rows whose files cannot be used; every file is then tried here.

    Raises:
        BadData: A file cannot be used, or, with `skip`, more than can be.
    """
    found = {name: [_located(table, column, cell) for cell in table.columns[column]] for name, table in tables.items()}
    findings: list[Finding] = []
    if skip or any(isinstance(item, _Fault) for items in found.values() for item in items):
        found, findings = _tried(tables, found, role)  # what is missing and what is broken are told together
    if not skip:
        _check(tables, found, role)
    kept = {name: [i for i, item in enumerate(items) if not isinstance(item, _Fault)] for name, items in found.items()}
    placed = {name: replace(table, columns={**table.columns, column: found[name]}) for name, table in tables.items()}
    faults = _faults(tables, found)
    if not faults:
        return Usable(placed, role, findings=findings)
    total = sum(map(len, found.values()))
    if 2 * len(faults) > total:
        text = f"{_told(faults, total, role)}. That is more than half; repair or remove them."
        raise BadData(text, *next(iter(tables.values())).path)
    names = json.dumps([[table.name, where] for table, where, _ in faults])
    left_out = hashlib.sha256(names.encode()).hexdigest()
    text = f"Left out (dataset.unreadable: skip): {_told(faults, total, role)}."
    findings.insert(0, note("left-out", text, len(faults), (where for _, where, _ in faults)))
    return Usable({name: _taken(table, kept[name]) for name, table in placed.items()}, role, left_out, findings)


def _taken(table: Table, rows: list[int]) -> Table:
    """Return some rows of a table, which keep their names."""
    if len(rows) == table.rows:
        return table
    columns = {name: [values[i] for i in rows] for name, values in table.columns.items()}
    return replace(table, columns=columns, rows=len(rows), lines=None, rows_named=[table.where(i) for i in rows])


def _tried(
    tables: Mapping[str, Table], found: Mapping[str, list[Any]], role: str
) -> tuple[dict[str, list[Any]], list[Finding]]:
    """Return the items, with faults in the place of those that cannot be used, and the finding on silent ones."""

    def tried(item: Any, is_named: bool) -> tuple[Any, bool]:
        if isinstance(item, _Fault):
            return item, True
        try:
            return item, _TRIES[role](item)
        except Unreadable as error:
            name = f"{item} " if isinstance(item, Path) and not is_named else ""
            return _Fault(f"{name}{error}; {error.cure}"), True

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with warnings.catch_warnings(), ThreadPoolExecutor(min(_THREADS, processors)) as pool:
        warnings.simplefilter("ignore")
        results = {
            name: list(pool.map(tried, items, itertools.repeat(bool(tables[name].rows_named))))
            for name, items in found.items()
        }
    silent = [
        f"{table.name}/{table.where(row)}" if table.rows_named else f"{table.name}, {table.where(row)}"
        for name, table in tables.items()
        for row, (_, heard) in enumerate(results[name])
        if not heard
    ]
    total = sum(map(len, found.values()))
    text = f"{len(silent):,} of {total:,} sounds are silent from beginning to end: {listed(silent, _NAMED)}."
    cure = "Listen to them, and replace or remove what should not be silent."
    said = [warning("silent-sounds", text, cure, len(silent), silent)] if silent else []
    return {name: [item for item, _ in items] for name, items in results.items()}, said


def _faults(tables: Mapping[str, Table], found: Mapping[str, list[Any]]) -> list[tuple[Table, str, str]]:
    """Return table, row's name and reason of each item that is a fault."""
    return [
        (table, table.where(row), item.reason)
        for name, table in tables.items()
        for row, item in enumerate(found[name])
        if isinstance(item, _Fault)
    ]


def _check(tables: Mapping[str, Table], found: Mapping[str, list[Any]], role: str) -> None:
    """Raise BadData that names the first items that are faults."""
    faults = _faults(tables, found)
    if not faults:
        return
    table, where, reason = faults[0]
    text = f"{table.name}, {where}: {reason}. Or leave it out with dataset.unreadable: skip."
    if len(faults) > 1:
        text = f"{_told(faults, sum(map(len, found.values())), role)}. {_CURE}."
    raise BadData(text, *table.path)


def _told(faults: list[tuple[Table, str, str]], total: int, role: str) -> str:
    """Return how many cannot be used, and the first of them with the reasons."""
    names = list(dict.fromkeys(table.name for table, _, _ in faults))
    short = {name: "" if len(names) == 1 else f"{PurePath(name).name}, " for name in names}
    first = [f"{short[table.name]}{where}: {_short(reason)}" for table, where, reason in faults[:_NAMED]]
    more = f"; and {len(faults) - _NAMED:,} more" if len(faults) > _NAMED else ""
    text = f"{len(faults):,} of {total:,} {role} files cannot be used: {'; '.join(first)}{more}"
    return f"{listed(names)}: {text}"


def _short(reason: str) -> str:
    """Return a reason without its cure, and of limited length."""
    text = reason.partition("; ")[0].removesuffix(".")
    return text if len(text) <= 200 else f"{text[:200]}..."


def _located(table: Table, column: str, cell: Any) -> Item | _Fault:
    """Return a cell's file: a resolved path that exists and lies where data may be read, or bytes."""
    value = cell
    if isinstance(cell, dict):  # as the `datasets` library writes images and sounds
        value = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
    if isinstance(value, Path | str) and str(value).strip():
        try:
            return _checked(str(value), table)
        except (BadData, OSError, RuntimeError, ValueError) as error:
            subject = "" if table.rows_named else f"column {column!r} names {value}: "
            return _Fault(f"{subject}{_reason(error, table)}")
    if isinstance(value, bytes | bytearray) and value:
        return bytes(value)
    if value is None or value in ("", b"") or (isinstance(value, str) and not value.strip()):
        return _Fault(f"column {column!r} is empty; fill it in or remove the row")
    return _Fault(f"column {column!r} holds {type(value).__name__} where a path or a file's bytes are wanted")


def _reason(error: Exception, table: Table) -> str:
    if isinstance(error, BadData):
        return error.message.removesuffix(".")
    if isinstance(error, FileNotFoundError) and table.folder:
        return f"it cannot be opened ({error.strerror}); paths start from {table.folder}"
    return f"it cannot be opened ({getattr(error, 'strerror', None) or error}); check the path and its permissions"


def _checked(path: str, table: Table) -> Path:
    if "://" in path:
        raise BadData("URLs are not fetched; download the files and name their paths.")
    file = (table.folder / path if table.folder else Path(path)).resolve()
    if not any(file.is_relative_to(folder) for folder in table.own_folders):
        check_inside_roots(file, "it")
    status = file.stat()  # a FileNotFoundError becomes the message
    if not file.is_file():
        raise BadData("it is no file; name a file.")
    if status.st_size == 0:
        raise BadData("the file is empty; replace it or remove the row.")
    if not os.access(file, os.R_OK):
        raise BadData("it cannot be read; check its permissions.")
    return file
