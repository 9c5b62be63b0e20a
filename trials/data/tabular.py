"""Tables from files of every format, read so that an error names the file, the row and the cure.

`data.sources` calls `FILE_READERS` with the columns that the spec names. Text is read with Python's csv and json:
pyarrow.csv is faster, but it guesses types (the label 01 becomes 1), and its errors do not name both row and line.
Nothing here opens a path that a table names.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.trials.errors import BadData

_CELL_CHARACTERS = 1 << 27  # the csv module's own limit of 128 KiB is shorter than many a document
_BLANKS = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class Table:
    """Some columns of one file, folder or split.

    Attributes:
        name: The source as the user wrote it, for error messages.
        path: The spec's path that names the source.
        header: Every column of the source.
        columns: The selected columns that the source has -> one value per row.
        rows: The number of rows.
        class_names: Column -> names of its integer classes.
        lines: The line of each row, for text files.
        rows_named: The name of each row, where rows are files of a folder.
        folder: The folder that relative paths in the table start from.
        own_folders: Folders outside the data roots in which paths may lie nevertheless: the hub's caches.
        notes: Sentences on what of the source is passed over.
    """

    name: str
    path: tuple[str, ...]
    header: list[str]
    columns: Mapping[str, list[Any]]
    rows: int
    class_names: Mapping[str, list[str]] = field(default_factory=dict)
    lines: list[int] | None = None
    rows_named: list[str] | None = None
    folder: Path | None = None
    own_folders: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def where(self, row: int) -> str:
        """Return the name of a row in an error message; `row` counts from 0, the message from 1, without the header."""
        if self.rows_named:
            return self.rows_named[row]
        return f"row {row + 1}" + (f" (line {self.lines[row]})" if self.lines else "")


def _decode(file: Path, name: str, path: tuple[str, ...]) -> str:
    """Return a file's text. Raises BadData at the first byte that is not UTF-8, or is NUL."""
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadData(
            f"{name} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}, line {line}. "
            "Save it as UTF-8.",
            *path,
        ) from None
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise BadData(f"{name} holds a NUL byte at offset {nul}, line {line}; remove it.", *path)
    return text


def _check_unique(header: list[str], name: str, path: tuple[str, ...]) -> None:
    """Raise BadData when two columns have one name."""
    for column in header:
        if header.count(column) > 1:
            raise BadData(f"{name} has more than one column called {column!r}; rename all but one.", *path)


def _read_delimited(file: Path, name: str, selection: set[str], path: tuple[str, ...], delimiter: str = ",") -> Table:
    """Read a file whose first line names the columns. Raises BadData."""
    text = _decode(file, name, path)
    csv.field_size_limit(_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = next(reader, [])
        _check_unique(header, name, path)
        line = reader.line_num + 1
        keep = [(column, i) for i, column in enumerate(header) if column in selection]
        for row in reader:
            if row and len(row) != len(header):
                raise BadData(
                    f"{name}: row {len(rows) + 1} (line {line}) has {len(row)} fields where the header has "
                    f"{len(header)}; fix the row, or put quotes around a field that holds the separator.",
                    *path,
                )
            if row:
                rows.append([row[i] for _, i in keep])
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadData(
            f"{name}: row {len(rows) + 1} (line {line}) cannot be read: {error}. "
            'Check its quotes: a quote inside a quoted field is written twice ("").',
            *path,
        ) from None
    columns = {column: [row[k] for row in rows] for k, (column, _) in enumerate(keep)}
    return Table(name, path, header, columns, len(rows), lines=lines)


def _read_tsv(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read a file whose columns are separated by tabs. Raises BadData."""
    return _read_delimited(file, name, selection, path, "\t")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's pairs as a dictionary. Raises ValueError when a key is given twice."""
    record = dict(pairs)
    if len(record) != len(pairs):
        twice = next(key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return record


def _from_records(
    records: list[Any], lines: list[int] | None, name: str, selection: set[str], path: tuple[str, ...]
) -> Table:
    """Return JSON objects as a table; a missing key is None. Raises BadData for a record that is no object."""
    header: dict[str, None] = {}
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise BadData(f'{name}: row {i + 1} is not an object such as {{"text": ..., "label": ...}}.', *path)
        header.update(dict.fromkeys(record))
    columns = {column: [record.get(column) for record in records] for column in header if column in selection}
    return Table(name, path, list(header), columns, len(records), lines=lines)


def _read_json(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read a file that is one JSON list of objects. Raises BadData."""
    text = _decode(file, name, path)
    try:
        records = json.loads(text, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        text = f"{name} is not valid JSON: {error}. One object per line needs the ending .jsonl."
        raise BadData(text, *path) from None
    if not isinstance(records, list):
        raise BadData(f"{name} must hold a list of objects; one object per line needs the ending .jsonl.", *path)
    return _from_records(records, None, name, selection, path)


def _read_jsonl(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read a file with a JSON object on each line that is not blank. Raises BadData."""
    records = []
    lines = []
    for number, line in enumerate(_decode(file, name, path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line, object_pairs_hook=_without_twins))
        except (ValueError, RecursionError) as error:
            text = f"{name}: row {len(records) + 1} (line {number}) is not valid JSON: {error}. Fix that line."
            raise BadData(text, *path) from None
        lines.append(number)
    return _from_records(records, lines, name, selection, path)


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return column -> names of its integer classes, as the `datasets` library writes them into an Arrow schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        inner = {column: f.get("feature", f) for column, f in features.items()}
        return {column: list(f["names"]) for column, f in inner.items() if f.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _from_arrow(load: Callable[[Path], Any]) -> Callable[[Path, str, set[str], tuple[str, ...]], Table]:
    """Return a reader of files that `load` turns into an Arrow table. The reader raises BadData."""

    def read(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
        import pyarrow

        try:
            table = load(file)
            header = list(table.schema.names)
            _check_unique(header, name, path)
            columns = {column: table.column(column).to_pylist() for column in header if column in selection}
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            raise BadData(f"{name} cannot be read: {error}. Write the file anew.", *path) from None
        return Table(name, path, header, columns, table.num_rows, _class_names(table.schema.metadata))

    return read


def _load_parquet(file: Path) -> Any:
    """Return a Parquet file as an Arrow table."""
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(file).read()


def _load_arrow(file: Path) -> Any:
    """Return an Arrow file, of the file format or the streaming format, as an Arrow table."""
    import pyarrow

    with file.open("rb") as stream:
        try:
            return pyarrow.ipc.open_file(stream).read_all()
        except pyarrow.ArrowInvalid:  # the streaming format, which `datasets` writes
            stream.seek(0)
            return pyarrow.ipc.open_stream(stream).read_all()


def _read_conll(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read the sentences of a CoNLL file: a line is a word, other fields and a tag; a blank line ends a sentence.

    Raises:
        BadData: A line has another number of fields than the others, or a single field.
    """
    words: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    lines = [0]
    fields = 0
    for number, line in enumerate(_decode(file, name, path).split("\n"), 1):
        cells = _BLANKS.split(line.strip())
        if cells == [""] or cells[0] == "-DOCSTART-":
            if words[-1]:
                words.append([])
                tags.append([])
                lines.append(0)
            continue
        if cells[0].startswith("#") and "=" in line:  # CoNLL-U's comments
            continue
        fields = fields or len(cells)
        if len(cells) != fields or fields < 2:
            text = f"{name}, line {number}: {len(cells)} columns" + (
                f" where others have {fields}" if fields > 1 else ""
            )
            raise BadData(f"{text}; a line holds a word, and last its tag.", *path)
        words[-1].append(cells[0])
        tags[-1].append(cells[-1])
        lines[-1] = lines[-1] or number
    count = len(words) - (not words[-1])
    columns = {"tokens": words[:count], "ner_tags": tags[:count]}
    chosen = {column: values for column, values in columns.items() if column in selection}
    return Table(name, path, list(columns), chosen, count, lines=lines[:count])


FILE_READERS: Mapping[str, Callable[[Path, str, set[str], tuple[str, ...]], Table]] = {
    "csv": _read_delimited,
    "tsv": _read_tsv,
    "json": _read_json,
    "jsonl": _read_jsonl,
    "parquet": _from_arrow(_load_parquet),
    "arrow": _from_arrow(_load_arrow),
    "conll": _read_conll,
    "bio": _read_conll,
    "iob": _read_conll,
}
"""A file name's ending -> its reader: (file, its name in messages, the columns to read, the spec's path) -> table."""
