"""Tables from JSON: a list of objects, an object a line, or an object of columns, as libraries write them.

`data.readers` calls `read_json` and `read_jsonl`. A key that is given twice is refused: JSON would keep the last only.
What annotation tools export as anything but a table is known by its keys (`data.exports`).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.studies.syntax import json_fault
from luthier.trials.data.coco import check_categories, coco_table, is_coco
from luthier.trials.data.exports import check_answers, check_export, inner_records
from luthier.trials.data.squad import is_squad, questions
from luthier.trials.data.tabular import Table
from luthier.trials.data.text_files import TextFile, read_text

_LAST_COMMA = re.compile(r",\s*[\]}]")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's pairs as a dictionary. Raises ValueError when a key is given twice."""
    record = dict(pairs)
    if len(record) != len(pairs):
        twice = next(key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return record


def _from_records(file: TextFile, records: list[Any], lines: list[int] | None, selection: set[str]) -> Table:
    """Return JSON objects as a table; a missing key is None. Raises BadData for a record that is no object."""
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            text = f': row {i + 1} is not an object such as {{"text": ..., "label": ...}}.'
            if lines and isinstance(record, list) and len(records) == 1:
                text += " A file that is one JSON list needs the ending .json."
            if isinstance(record, str) and record.lstrip()[:1] in ("{", "["):
                text += " It is JSON inside a string, as if it was encoded twice; write the object itself."
            raise file.refuse(text)
    names = None
    if is_squad(records, selection):
        found = questions(file, records)
        records, names, lines = found.records, found.names, None
    check_export(file, records, selection)
    records = inner_records(file, records, selection)
    header: dict[str, None] = {}
    for record in records:
        header.update(dict.fromkeys(record))
    columns = {column: [record.get(column) for record in records] for column in header if column in selection}
    table = Table(file.name, file.path, list(header), columns, len(records), lines=lines, rows_named=names)
    check_answers(file, records, selection, table.where)
    return table


def read_json(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read a file that is one JSON value: a list of objects, or an object that holds one, or holds columns.

    Raises:
        BadData: It is no JSON, or no such value, or its columns are not equally long.
    """
    found = read_text(file, name, path)
    if not found.data.strip():
        raise found.refuse(" is empty; write the file anew.")
    try:
        value = json.loads(found.data, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise found.refuse(f" is not valid JSON: {json_fault(error)}. {_cure(error)}") from None
    if is_coco(value, selection):
        return coco_table(found, value, file.parent)
    check_categories(found, value, selection)
    if isinstance(value, dict):
        return _from_object(found, value, selection)
    if isinstance(value, str):
        raise found.refuse(" is JSON inside a string, as if it was encoded twice; write the list itself.")
    if not isinstance(value, list):
        raise found.refuse(" must hold a list of objects; one object per line needs the ending .jsonl.")
    return _from_records(found, value, None, selection)


def _cure(error: Exception) -> str:
    """Return the sentence that says what mends a file that is no JSON."""
    if isinstance(error, RecursionError):
        return "Write a list of objects, without lists inside lists."
    if not isinstance(error, json.JSONDecodeError):
        return "Leave one of the two out." if "twice" in str(error) else "Write it as text."  # a number of many digits
    text, place = error.doc, error.pos
    if "Extra data" in str(error):
        return "One object per line needs the ending .jsonl."
    if _LAST_COMMA.match(text, text.rfind(",", 0, place + 1)):
        return "Remove the comma before the bracket."
    if place < len(text) and text[place] == "'":
        return "It is written as Python prints it, with single quotes; write it with json.dump."
    if place >= len(text.rstrip()) or "Unterminated" in str(error):
        return "It ends too early, so it was cut; fetch it again, or write it anew."
    return "Mend it there, or write it with a library, such as json.dump."


def _from_object(file: TextFile, value: Mapping[str, Any], selection: set[str]) -> Table:
    """Return an object's table: its one list of objects, or its columns. Raises BadData."""
    names, rows = value.get("columns") or [], value.get("data") or []
    if _is_list_of(names, str) and _is_list_of(rows, list) and all(len(row) == len(names) for row in rows):
        return _from_columns(file, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), selection)
    if rows == [] and "data" in value and {"question", "context"} <= selection:
        raise file.refuse(" holds no questions: its list of articles (data) is empty; write the file anew.")
    if is_squad([value], selection):
        return _from_records(file, [value], None, selection)
    check_export(file, [value], selection)
    tables = [key for key, inner in value.items() if _is_list_of(inner, dict)]
    right = [key for key in tables if selection & _keys(file, value, key, selection)]
    if len(tables) == 1 or (len(right) == 1 and selection <= _keys(file, value, right[0], selection)):
        return _from_records(file, value[(right or tables)[0]], None, selection)
    if not tables and value and all(_is_columns(inner, selection) for inner in value.values()):
        tables = list(value)
        if len(tables) == 1:
            return _from_columns(file, value[tables[0]], selection)
    if tables:
        text = f" holds more than one table ({', '.join(tables)}); write each to a file of its own, and name them in "
        raise file.refuse(text + "dataset.source as {train: ..., validation: ..., test: ...}.")
    if value and all(isinstance(inner, list) for inner in value.values()):
        return _from_columns(file, value, selection)
    if value and all(isinstance(inner, dict) for inner in value.values()):
        rows = list(value.values())
        if selection.issubset(value) and all(inner.keys() == rows[0].keys() for inner in rows):  # as pandas writes it
            return _from_columns(file, {key: list(inner.values()) for key, inner in value.items()}, selection)
        if len(value) == 1 and not selection & set(rows[0]):  # {"data": {"rows": [...]}}
            return _from_object(file, rows[0], selection)
        return _from_records(file, rows, None, selection)
    raise file.refuse(
        ' must hold a list of objects, such as [{"text": ..., "label": ...}], or an object of columns, such as '
        '{"text": [...], "label": [...]}; one object per line needs the ending .jsonl.'
    )


def _keys(file: TextFile, value: Mapping[str, Any], key: str, selection: set[str]) -> set[str]:
    """Return the keys of the first object of a list in a JSON object. Raises BadData."""
    return set(inner_records(file, value[key][:1], selection, value)[0])


def _is_columns(value: Any, selection: set[str]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(column), list) for column in selection)


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
    for number, line in enumerate(found.data.splitlines(), 1):  # a JSON string holds no line end
        if not line.strip():
            continue
        try:
            records.append(json.loads(line, object_pairs_hook=_without_twins))
        except (ValueError, RecursionError) as error:
            reason = json_fault(error).removeprefix("line 1, ")  # of one line
            text = f": row {len(records) + 1} (line {number}) is not valid JSON: {reason}. {_line_cure(line, error)}"
            if not records and found.data.lstrip()[:1] in (b"[", b"{") and line.strip() in (b"[", b"{", b"[{"):
                text = f" is one JSON value over many lines ({reason}); give it the ending .json."
            raise found.refuse(text) from None
        lines.append(number)
    return _from_records(found, records, lines, selection)


def _line_cure(line: bytes, error: Exception) -> str:
    """Return the sentence that says what mends a line that is no JSON."""
    if "Extra data" not in str(error):
        return "Fix that line."
    rest = line[len(line.decode()[: getattr(error, "pos", 0)].encode()) :].strip()
    if rest.startswith(b","):
        return "Remove the comma at the end of each line." if rest == b"," else "Write one object per line."
    return "Write one object per line."
