"""The beginning of tables, for a preview: read by the readers of each kind, all columns, within a number of bytes."""

import bz2
import csv
import gzip
import json
import lzma
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from luthier.studies.damage import damage
from luthier.trials.data.containers import read_tables
from luthier.trials.data.delimited import CSV, TSV
from luthier.trials.data.lines import read_lines
from luthier.trials.data.readers import FILE_READERS
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData
from luthier.trials.paths import FORMATS, kind_of

MOST_BYTES = 64 * 2**20  # of all tables of a data set together
PATH = ("dataset", "source")
NO_COLUMN = "\0"  # that no table has: its header is wanted
WHOLE = ("json", "parquet", "arrow")  # formats of which no beginning can be read
PACKERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@dataclass(frozen=True)
class Sample:
    """What was read of a table.

    Attributes:
        table: The rows.
        files: The files of the whole table.
        complete: Whether these are all its rows.
        read_bytes: What was read for it.
    """

    table: Table
    files: Sequence[Path]
    complete: bool
    read_bytes: int


def reads(name: str) -> bool:
    """Return whether a file is a table by its name."""
    return kind_of(name) in FORMATS


def sample(files: Sequence[Path], name: str, most_bytes: int) -> Sample:
    """Read the first rows of a table.

    Args:
        files: Its files, or the folder that `save_to_disk` wrote.
        name: For messages.
        most_bytes: That may be read.

    Raises:
        BadData: It cannot be read as what it is, or is too large for a preview.
        ModuleNotFoundError: The library that reads it is missing.
    """
    if files[0].is_dir():
        header = read_tables(files, name, {}, PATH).header
        return Sample(read_tables(files, name, {column: column for column in header}, PATH), files, True, 0)
    tables: list[Table] = []
    left = most_bytes
    complete = True
    for file in files:
        if left <= 0:
            complete = False
            break
        table, size, whole = _read_beginning(file, name, left)
        complete = complete and whole
        left -= size
        if tables and table.header != tables[0].header:
            raise BadData(f"{name}: {file.name} has other columns than {files[0].name}; write both alike.", *PATH)
        tables.append(table)
    return Sample(_joined(tables), files, complete, most_bytes - left)


def _joined(tables: list[Table]) -> Table:
    columns = {name: [value for table in tables for value in table.columns[name]] for name in tables[0].columns}
    return replace(tables[0], columns=columns, rows=sum(table.rows for table in tables), lines=None)


def _read_beginning(file: Path, name: str, most_bytes: int) -> tuple[Table, int, bool]:
    """Return the first rows of a file, the bytes that were read, and whether these are all rows."""
    kind = kind_of(file.name)
    packed = file.suffix.lower() in PACKERS
    size = file.stat().st_size
    if not packed and size <= most_bytes:
        return _all_columns(file, kind, name), size, True
    if kind in WHOLE and not packed:
        text = f"{file.name} is larger than a preview reads ({most_bytes:,} bytes); `luthier plan` shows what is in it."
        raise BadData(text, *PATH)
    opener = PACKERS.get(file.suffix.lower(), _open)
    try:
        with opener(file) as stream:
            data: bytes = stream.read(most_bytes + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise BadData(f"{file.name} cannot be unpacked: {damage(error)}. Pack it anew.", *PATH) from None
    whole = len(data) <= most_bytes
    if not whole:
        if kind in WHOLE:
            text = f"{file.name} is larger than a preview reads ({most_bytes:,} bytes) once it is unpacked."
            raise BadData(text, *PATH)
        data = data[: _end_of_rows(data, quoted=kind in ("csv", "tsv", "txt"))]
    with tempfile.TemporaryDirectory() as folder:
        beginning = Path(folder, f"beginning.{kind}")
        beginning.write_bytes(data)
        return _all_columns(beginning, kind, name), len(data), whole


def _open(file: Path) -> IO[bytes]:
    return file.open("rb")


def _end_of_rows(data: bytes, quoted: bool) -> int:
    """Return where the last whole row ends: at a line's end that lies in no quotes, where one is near."""
    end = last = data.rfind(b"\n") + 1
    quotes = data.count(b'"', 0, end)
    while quoted and quotes % 2 and end > len(data) - 2**20 and end > 0:
        above = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(b'"', above, end)
        end = above
    return end if end and not (quoted and quotes % 2) else last


def _all_columns(file: Path, kind: str, name: str) -> Table:
    if kind == "txt":
        texts = read_lines(file, name, PATH)
        if texts is not None:
            return texts
    if kind in ("csv", "tsv", "txt"):
        columns = _header(file, CSV if kind == "csv" else TSV)
    else:
        columns = _keys(file) or FILE_READERS[kind](file, name, {NO_COLUMN}, PATH).header
    return FILE_READERS[kind](file, name, set(columns), PATH)


def _keys(file: Path) -> list[str]:
    """Return the keys of the objects of a file of JSON, of all kinds that are met; nothing for what is no such file."""
    kind = kind_of(file.name)
    try:
        text = file.read_text("utf-8-sig") if kind in ("json", "jsonl") else ""
        records = (
            json.loads(text) if kind == "json" else [json.loads(line) for line in text.split("\n") if line.strip()]
        )
    except (ValueError, RecursionError):
        return []  # its reader says what is wrong
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        return []
    return list(dict.fromkeys(key for record in records for key in record))


def _header(file: Path, separators: tuple[str, ...]) -> list[str]:
    """Return the names of the columns, by the separator that gives the most."""
    with file.open("rb") as stream:
        start = stream.read(2**20).decode("utf-8-sig", "replace")
    lines = [line for line in start.splitlines(keepends=True) if line.strip()]
    headers = []
    for separator in separators:
        try:
            headers.append(next(csv.reader(lines, delimiter=separator), []))
        except csv.Error:
            headers.append([])
    best = max(headers, key=len, default=[])
    return [column.strip() for column in best if column.strip()]
