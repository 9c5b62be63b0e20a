"""Tables from Parquet and Arrow files, with the names that the `datasets` library keeps for integer classes.

`data.readers` calls `read_parquet` and `read_arrow`; `class_names` also serves the folders of `save_to_disk`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from luthier.studies.text import one_line
from luthier.trials.data.boxes import CATEGORIES
from luthier.trials.data.foreign_files import refuse_foreign
from luthier.trials.data.tabular import Table, check_unique
from luthier.trials.data.text_files import first_bytes
from luthier.trials.errors import BadData

_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""The last bytes of a stream that was closed; one that was cut between two batches reads as a shorter one."""

_BATCH_ROWS = 8192  # of a Parquet file, in memory twice


def class_names(features: Any) -> dict[str, list[str]]:
    """Return column -> names of its integer classes.

    Args:
        features: The features of the `datasets` library as JSON. A column of lists is `{"feature": ...}`, or a list
            that holds the one feature, as earlier versions wrote it. What is of another form has no names.
    """
    if not isinstance(features, dict):
        return {}
    found = {}
    for column, feature in features.items():
        names = _names(feature)
        if names:
            found[column] = names
    return found


def _names(feature: Any) -> list[str] | None:
    """Return the names of a feature's classes, or of the classes in its lists, or of its objects' categories."""
    while True:
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and isinstance(feature.get("feature"), dict | list):
            feature = feature["feature"]
        elif isinstance(feature, dict) and isinstance(feature.get("_type"), str | None):
            inner = next((feature[name] for name in CATEGORIES if isinstance(feature.get(name), dict | list)), None)
            if inner is None:
                break
            feature = inner
        else:
            break
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel" or not feature.get("names"):
        return None
    names = feature["names"]
    if isinstance(names, dict):  # number -> name, as on a data set's card
        names = [names.get(str(number)) for number in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list) and None not in names else None


def _schema_features(metadata: Mapping[bytes, bytes] | None) -> Any:
    """Return the features in an Arrow schema's metadata, or None."""
    try:
        return json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return None


def read_parquet(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read a Parquet file. Raises BadData."""
    _check_start(file, name, path, "Parquet", b"PAR1")
    return _read(_open_parquet, file, name, selection, path)


def read_arrow(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read an Arrow file, of the file format or the streaming format. Raises BadData."""
    _check_start(file, name, path, "Arrow", b"ARROW1")
    return _read(_open_arrow, file, name, selection, path)


def _check_start(file: Path, name: str, path: tuple[str, ...], kind: str, mark: bytes) -> None:
    """Raise BadData for a file that is empty, cut, or something else by its first bytes."""
    data = first_bytes(file)
    refuse_foreign(data, name, path, but=mark)
    if not data:
        raise BadData(f"{name} cannot be read: it is empty. Write the file anew.", *path)
    if kind == "Arrow" and not data.startswith(mark) and not data[:8].decode("latin-1").isprintable():
        return  # the streaming format, which has no mark
    with file.open("rb") as stream:
        packed = stream.read(len(mark)) != data[: len(mark)]
    if packed:
        raise BadData(
            f"{name} cannot be read: it is compressed. Unpack it, and give the {kind} file, which is small itself.",
            *path,
        )
    if not data.startswith(mark):
        raise BadData(
            f"{name} cannot be read: it is no {kind} file. Give it the ending of what it is, or fetch it again.", *path
        )
    if not data.endswith(mark):
        raise BadData(
            f"{name} cannot be read: its end is missing, so it was cut off. Fetch it again, or write it anew.", *path
        )


def _read(open_file: Callable[..., Any], file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read the selected columns, batch by batch: Arrow's values and Python's are in memory together for one only."""
    import pyarrow

    try:
        with file.open("rb") as stream:
            schema, batches = open_file(stream, selection)
            header, features = list(schema.names), _schema_features(schema.metadata)
            if records := _records(schema, selection):
                stream.seek(0)
                _, whole = open_file(stream, {records})
                batches = (pyarrow.RecordBatch.from_struct_array(_sound(batch, records)) for batch in whole)
                header = [field.name for field in schema.field(records).type]
                features = features.get(records) if isinstance(features, dict) else None
            check_unique(header, name, path)
            columns: dict[str, list[Any]] = {column: [] for column in header if column in selection}
            rows = 0
            for batch in batches:
                rows += batch.num_rows
                for column, values in columns.items():
                    values.extend(_sound(batch, column).to_pylist())
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise BadData(f"{name} cannot be read: {one_line(error).rstrip('.')}. Write the file anew.", *path) from None
    return Table(name, path, header, columns, rows, class_names(features))


def _sound(batch: Any, column: str) -> Any:
    """Return a column once its places were checked. Raises ArrowInvalid.

    A file may say that a text lies anywhere: without a check Arrow reads what is there, in this process's memory.
    """
    values = batch.column(column)
    values.validate(full=True)
    return values


def _records(schema: Any, selection: set[str]) -> str | None:
    """Return the one column that holds records with all columns that are asked for, where the table has none itself."""
    import pyarrow

    fields = [field for field in schema if pyarrow.types.is_struct(field.type)]
    whole = [field.name for field in fields if selection <= {inner.name for inner in field.type}]
    return whole[0] if len(whole) == 1 and not selection & set(schema.names) else None


def _open_parquet(stream: BinaryIO, selection: set[str]) -> tuple[Any, Iterator[Any]]:
    """Return a Parquet file's schema, and the batches of its selected columns; the others are not read."""
    import pyarrow.parquet

    opened = pyarrow.parquet.ParquetFile(stream)
    columns = [column for column in opened.schema_arrow.names if column in selection]
    return opened.schema_arrow, opened.iter_batches(_BATCH_ROWS, columns=columns)


def _open_arrow(stream: BinaryIO, selection: set[str]) -> tuple[Any, Iterator[Any]]:
    """Return the schema and the batches of an Arrow file, of the file format or the streaming format."""
    import pyarrow

    try:
        reader = pyarrow.ipc.open_file(stream)
    except pyarrow.ArrowInvalid:  # the streaming format, which `datasets` writes
        stream.seek(0)
        reader = pyarrow.ipc.open_stream(stream)
        return reader.schema, _whole_stream(reader, stream)
    return reader.schema, map(reader.get_batch, range(reader.num_record_batches))


def _whole_stream(reader: Any, stream: BinaryIO) -> Iterator[Any]:
    """Yield the batches of a stream. Raises ArrowInvalid where it was cut."""
    import pyarrow

    yield from reader
    stream.seek(-len(_END_OF_STREAM), 2)
    if stream.read() != _END_OF_STREAM:
        raise pyarrow.ArrowInvalid("it has no end, so it was cut")
