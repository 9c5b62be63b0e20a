"""Tables from JSON: a list of objects, an object a line, or an object of columns, as libraries write them.

`data.readers` calls `read_json` and `read_jsonl`. A key that is given twice is refused: JSON would keep the last only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.trials.data.tabular import Table
from luthier.trials.data.text_files import TextFile, read_text


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's pairs as a dictionary. Raises ValueError when a key is given twice."""
    record = dict(pairs)
    if len(record) != len(pairs):
        twice = next(key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return record


def _from_records(file: TextFile, records: list[Any], lines: list[int] | None, selection: set[str]) -> Table:
    """Return JSON objects as a table; a missing key is None. Raises BadData for a record that is no object."""
    header: dict[str, None] = {}
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            text = f': row {i + 1} is not an object such as {{"text": ..., "label": ...}}.'
            if lines and isinstance(record, list) and len(records) == 1:
                text += " A file that is one JSON list needs the ending .json."
            raise file.refuse(text)
        header.update(dict.fromkeys(record))
    columns = {column: [record.get(column) for record in records] for column in header if column in selection}
    return Table(file.name, file.path, list(header), columns, len(records), lines=lines)


def read_json(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read a file that is one JSON value: a list of objects, or an object that holds one, or holds columns.

    Raises:
        BadData: It is no JSON, or no such value, or its columns are not equally long.
    """
    found = read_text(file, name, path)
    try:
        value = json.loads(found.data, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise found.refuse(f" is not valid JSON: {error}. One object per line needs the ending .jsonl.") from None
    if isinstance(value, dict):
        return _from_object(found, value, selection)
    if not isinstance(value, list):
        raise found.refuse(" must hold a list of objects; one object per line needs the ending .jsonl.")
    return _from_records(found, value, None, selection)


def _from_object(file: TextFile, value: Mapping[str, Any], selection: set[str]) -> Table:
    """Return an object's table: its one list of objects, or its columns. Raises BadData."""
    names, rows = value.get("columns") or [], value.get("data") or []
    if _is_list_of(names, str) and _is_list_of(rows, list) and all(len(row) == len(names) for row in rows):
        return _from_columns(file, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), selection)
    tables = [key for key, inner in value.items() if _is_list_of(inner, dict)]
    if len(tables) == 1:
        return _from_records(file, value[tables[0]], None, selection)
    if tables:
        text = f" holds more than one table ({', '.join(tables)}); write each to a file of its own, and name them in "
        raise file.refuse(text + "dataset.source as {train: ..., validation: ..., test: ...}.")
    if value and all(isinstance(inner, list) for inner in value.values()):
        return _from_columns(file, value, selection)
    if value and all(isinstance(inner, dict) for inner in value.values()):
        rows = list(value.values())
        if selection.issubset(value) and all(inner.keys() == rows[0].keys() for inner in rows):  # as pandas writes it
            return _from_columns(file, {key: list(inner.values()) for key, inner in value.items()}, selection)
        return _from_records(file, rows, None, selection)
    raise file.refuse(
        ' must hold a list of objects, such as [{"text": ..., "label": ...}], or an object of columns, such as '
        '{"text": [...], "label": [...]}; one object per line needs the ending .jsonl.'
    )


def _is_list_of(value: Any, kind: type) -> bool:
    """Return whether a value is a list, not empty, with values of one kind only."""
    return isinstance(value, list) and bool(value) and all(isinstance(inner, kind) for inner in value)


def _from_columns(file: TextFile, columns: Mapping[str, list[Any]], selection: set[str]) -> Table:
    """Return columns as a table. Raises BadData when they are not equally long."""
    first, rows = next((key, len(values)) for key, values in columns.items())
    for column, values in columns.items():
        if len(values) != rows:
            raise file.refuse(f": its column {column!r} has {len(values)} values where {first!r} has {rows}.")
    chosen = {column: values for column, values in columns.items() if column in selection}
    return Table(file.name, file.path, list(columns), chosen, rows)


def read_jsonl(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read a file with a JSON object on each line that is not blank. Raises BadData."""
    found = read_text(file, name, path)
    records = []
    lines = []
    for number, line in enumerate(found.data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line, object_pairs_hook=_without_twins))
        except (ValueError, RecursionError) as error:
            text = f": row {len(records) + 1} (line {number}) is not valid JSON: {error}. Fix that line."
            if not records and found.data.lstrip()[:1] in (b"[", b"{") and line.strip() in (b"[", b"{", b"[{"):
                text = f" is one JSON value over many lines ({error}); give it the ending .json."
            raise found.refuse(text) from None
        lines.append(number)
    return _from_records(found, records, lines, selection)
