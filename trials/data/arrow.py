"""Tables from Parquet and Arrow files, with the names that the `datasets` library keeps for integer classes.

`data.readers` calls `read_parquet` and `read_arrow`; `class_names` also serves the folders of `save_to_disk`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from luthier.studies.text import one_line
from luthier.trials.data.foreign_files import refuse_foreign
from luthier.trials.data.tabular import Table, check_unique
from luthier.trials.data.text_files import first_bytes
from luthier.trials.errors import BadData

_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""The last bytes of a stream that was closed; one that was cut between two batches reads as a shorter one."""


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
    """Return the names of a feature's classes, or of the classes in its lists."""
    while True:
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and isinstance(feature.get("feature"), dict | list):
            feature = feature["feature"]
        else:
            break
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel" or not feature.get("names"):
        return None
    return [str(name) for name in feature["names"]]


def _schema_features(metadata: Mapping[bytes, bytes] | None) -> Any:
    """Return the features in an Arrow schema's metadata, or None."""
    try:
        return json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return None


def read_parquet(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read a Parquet file. Raises BadData."""
    _check_start(file, name, path, "Parquet", b"PAR1")
    return _read(_load_parquet, file, name, selection, path)


def read_arrow(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read an Arrow file, of the file format or the streaming format. Raises BadData."""
    _check_start(file, name, path, "Arrow", b"ARROW1")
    return _read(_load_arrow, file, name, selection, path)


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


def _read(load: Callable[[Path], Any], file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    import pyarrow

    try:
        table, features = _flat(load(file), selection)
        header = list(table.schema.names)
        check_unique(header, name, path)
        columns = {column: table.column(column).to_pylist() for column in header if column in selection}
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise BadData(f"{name} cannot be read: {one_line(error).rstrip('.')}. Write the file anew.", *path) from None
    return Table(name, path, header, columns, table.num_rows, class_names(features))


def _flat(table: Any, selection: set[str]) -> tuple[Any, Any]:
    """Return a table and its features; where one column holds records with all columns that are asked for, theirs."""
    import pyarrow

    features = _schema_features(table.schema.metadata)
    fields = [field for field in table.schema if pyarrow.types.is_struct(field.type)]
    whole = [field.name for field in fields if selection <= {inner.name for inner in field.type}]
    if len(whole) != 1 or selection & set(table.schema.names):
        return table, features
    inside = features.get(whole[0]) if isinstance(features, dict) else None
    return pyarrow.Table.from_struct_array(table.column(whole[0])), inside


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
            table = pyarrow.ipc.open_stream(stream).read_all()
            stream.seek(-len(_END_OF_STREAM), 2)
            if stream.read() != _END_OF_STREAM:
                raise pyarrow.ArrowInvalid("it has no end, so it was cut") from None
            return table
