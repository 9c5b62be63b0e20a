"""Tables from files of every format, read so that an error names the file, the row and the cure."""

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
    """Columns of one file or split. `path` is the spec's path that named it."""

    name: str  # as the user wrote it
    path: tuple[str, ...]
    header: list[str]  # every column there is
    columns: Mapping[str, list[Any]]  # those that were wanted and are there
    rows: int
    class_names: Mapping[str, list[str]] = field(default_factory=dict)  # column -> names of its integer classes
    lines: list[int] | None = None  # of each row, for text files
    rows_named: list[str] | None = None  # where rows are files of a folder
    folder: Path | None = None  # that paths in the table start from
    own_folders: tuple[Path, ...] = ()  # outside the data roots, and yet the data's own: the hub's caches

    def where(self, row: int) -> str:
        """How an error message names a row; rows count from 1 without the header."""
        if self.rows_named:
            return self.rows_named[row]
        return f"row {row + 1}" + (f" (line {self.lines[row]})" if self.lines else "")


def _decode(file: Path, name: str, path: tuple[str, ...]) -> str:
    """The file's text, or BadData at the first byte that is not UTF-8, or is NUL."""
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


def _unique(header: list[str], name: str, path: tuple[str, ...]) -> None:
    for column in header:
        if header.count(column) > 1:
            raise BadData(f"{name} has more than one column called {column!r}; rename all but one.", *path)


def _read_delimited(file: Path, name: str, wanted: set[str], path: tuple[str, ...], delimiter: str = ",") -> Table:
    text = _decode(file, name, path)
    csv.field_size_limit(_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line, header = 1, list[str]()
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = next(reader, [])
        _unique(header, name, path)
        line = reader.line_num + 1
        keep = [(column, i) for i, column in enumerate(header) if column in wanted]
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


def _read_tsv(file: Path, name: str, wanted: set[str], path: tuple[str, ...]) -> Table:
    return _read_delimited(file, name, wanted, path, "\t")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return made


def _from_records(
    records: list[Any], lines: list[int] | None, name: str, wanted: set[str], path: tuple[str, ...]
) -> Table:
    header: dict[str, None] = {}
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise BadData(f'{name}: row {i + 1} is not an object such as {{"text": ..., "label": ...}}.', *path)
        header.update(dict.fromkeys(record))
    columns = {column: [record.get(column) for record in records] for column in header if column in wanted}
    return Table(name, path, list(header), columns, len(records), lines=lines)


def _read_json(file: Path, name: str, wanted: set[str], path: tuple[str, ...]) -> Table:
    text = _decode(file, name, path)
    try:
        records = json.loads(text, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        text = f"{name} is not valid JSON: {error}. One object per line needs the ending .jsonl."
        raise BadData(text, *path) from None
    if not isinstance(records, list):
        raise BadData(f"{name} must hold a list of objects; one object per line needs the ending .jsonl.", *path)
    return _from_records(records, None, name, wanted, path)


def _read_jsonl(file: Path, name: str, wanted: set[str], path: tuple[str, ...]) -> Table:
    records, lines = [], []
    for number, line in enumerate(_decode(file, name, path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line, object_pairs_hook=_no_twins))
        except (ValueError, RecursionError) as error:
            text = f"{name}: row {len(records) + 1} (line {number}) is not valid JSON: {error}. Fix that line."
            raise BadData(text, *path) from None
        lines.append(number)
    return _from_records(records, lines, name, wanted, path)


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Names of integer classes, or of those in lists, that the `datasets` library leaves in an Arrow schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        inner = {column: f.get("feature", f) for column, f in features.items()}
        return {column: list(f["names"]) for column, f in inner.items() if f.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _from_arrow(load: Callable[[Path], Any]) -> Callable[[Path, str, set[str], tuple[str, ...]], Table]:
    def read(file: Path, name: str, wanted: set[str], path: tuple[str, ...]) -> Table:
        import pyarrow

        try:
            table = load(file)
            header = list(table.schema.names)
            _unique(header, name, path)
            columns = {column: table.column(column).to_pylist() for column in header if column in wanted}
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            raise BadData(f"{name} cannot be read: {error}. Write the file anew.", *path) from None
        return Table(name, path, header, columns, table.num_rows, _class_names(table.schema.metadata))

    return read


def _load_parquet(file: Path) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(file).read()


def _load_arrow(file: Path) -> Any:
    import pyarrow

    with file.open("rb") as stream:
        try:
            return pyarrow.ipc.open_file(stream).read_all()
        except pyarrow.ArrowInvalid:  # the streaming format, which `datasets` writes
            stream.seek(0)
            return pyarrow.ipc.open_stream(stream).read_all()


def _read_conll(file: Path, name: str, wanted: set[str], path: tuple[str, ...]) -> Table:
    """Sentences of a CoNLL file: a word a line, the word first and its tag last, a blank line after each sentence."""
    words: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    lines, fields = [0], 0
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
    kept = {column: values for column, values in columns.items() if column in wanted}
    return Table(name, path, list(columns), kept, count, lines=lines[:count])


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
"""File name's ending -> its reader: (file, its name for people, columns wanted, the spec's path)."""
