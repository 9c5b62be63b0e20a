"""Columns of a preview: the kind of their values, the most frequent ones, lengths, and keys by which rows are equal."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.trials.data.media_tree import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from luthier.trials.data.tabular import Table

FEW_VALUES = 50  # that are shown with their counts
CUT = 200  # characters of a value
MOST_MEASURED = 1_000  # images whose size is read
MOST_HASHED = 512 * 2**20  # bytes of images or sounds that are compared
_PATHS = 20  # values by which a column of paths is known


def column_preview(name: str, table: Table) -> dict[str, Any]:
    """Return what is told of a column of a table."""
    values = table.columns[name]
    if table.rows_named is not None and name != "label":
        return {"name": name, "kind": name, "missing": 0, "lengths": _sizes(values, name)}
    given = [value for value in values if not _is_missing(value)]
    kind = "label" if table.rows_named is not None else _kind(given)
    counts = Counter(map(_text, given))
    told: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "missing": len(values) - len(given),
        "distinct": len(counts),
        "lengths": [],
    }
    if len(counts) <= FEW_VALUES:
        told["values"] = [{"value": value, "rows": rows} for value, rows in counts.most_common(FEW_VALUES)]
    if kind in ("integer", "number"):
        numbers = [number for number in map(float, given) if math.isfinite(number)]
        told["least"], told["most"] = min(numbers, default=None), max(numbers, default=None)
    elif kind == "text":
        told["lengths"] = [_lengths([len(value) for value in given], "characters")]
    elif kind == "list":
        told["lengths"] = [_lengths([len(value) for value in given], "items")]
    return told


def shown(table: Table, row: int) -> dict[str, str | None]:
    """Return column -> value of a row as text, long ones cut."""
    found: dict[str, str | None] = {}
    for name, values in table.columns.items():
        value = values[row]
        if isinstance(value, Path) and table.rows_named is not None:
            value = table.rows_named[row]
        found[name] = None if value is None else _text(value)
    return found


def row_keys(table: Table, columns: list[dict[str, Any]]) -> list[bytes]:
    """Return a key for each row, equal for rows that are equal but for a column that numbers them."""
    counted = {
        column["name"] for column in columns if column["kind"] == "integer" and column.get("distinct") == table.rows
    }
    names = [name for name in table.columns if name not in counted] or list(table.columns)
    rows = zip(*(table.columns[name] for name in names), strict=True)
    return [hashlib.sha1(repr(row).encode("utf-8", "replace"), usedforsecurity=False).digest() for row in rows]


def file_keys(table: Table) -> list[bytes]:
    """Return a key for each image or sound, equal for equal files; beyond a number of bytes each has its own."""
    column = next(name for name in table.header if name != "label")
    left = MOST_HASHED
    keys = []
    for file in table.columns[column]:
        left -= file.stat().st_size
        if left < 0:
            keys.append(str(file).encode("utf-8", "replace"))
            continue
        with file.open("rb") as stream:
            keys.append(hashlib.file_digest(stream, "sha256").digest())
    return keys


def _is_missing(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, float) and math.isnan(value))
    )


def _kind(given: Sequence[Any]) -> str:
    """Return what the values of a column are; numbers and truth values may be written as text."""
    if not given:
        return "empty"
    types = {type(value) for value in given}
    if types == {str}:
        return _kind_of_texts(given)
    if types == {bool}:
        return "boolean"
    if types <= {int, bool}:
        return "integer"
    if types <= {int, float, bool}:
        return "number"
    if all(issubclass(kind, list | tuple) for kind in types):
        return "list"
    if all(issubclass(kind, bytes | bytearray) for kind in types):
        return "binary"
    if types == {dict}:
        return "binary" if {"bytes", "path"} >= given[0].keys() else "object"
    return "mixed"


def _kind_of_texts(given: Sequence[str]) -> str:
    for kind, suffixes in (("image", IMAGE_SUFFIXES), ("audio", AUDIO_SUFFIXES)):
        if all(Path(value[-100:]).suffix.lower() in suffixes for value in given[:_PATHS]):
            return kind
    if all(value.strip().lower() in ("true", "false") for value in given):
        return "boolean"
    try:
        numbers = [float(value) for value in given]
    except ValueError:
        return "text"
    if any("_" in value for value in given) or not all(map(math.isfinite, numbers)):
        return "text"
    whole = all(value.strip().lstrip("+-").isdigit() for value in given)
    return "integer" if whole else "number"


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return f"{len(value):,} bytes"
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= CUT else text[: CUT - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _lengths(lengths: Sequence[int], unit: str) -> dict[str, Any]:
    ordered = sorted(lengths)

    def quantile(share: float) -> float:
        return float(ordered[round(share * (len(ordered) - 1))])

    return {
        "unit": unit,
        "least": ordered[0],
        "median": quantile(0.5),
        "p90": quantile(0.9),
        "p99": quantile(0.99),
        "most": ordered[-1],
    }


def _sizes(files: Sequence[Path], role: str) -> list[dict[str, Any]]:
    """Return the sizes of some images, as far as Pillow is there; of sounds their bytes. Nothing is decoded."""
    if not files:
        return []
    step = max(len(files) // MOST_MEASURED, 1)
    chosen = files[::step][:MOST_MEASURED]
    in_bytes = [_lengths([file.stat().st_size for file in chosen], "bytes")]
    if role != "image":
        return in_bytes
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError:
        return in_bytes
    sizes = []
    for file in chosen:
        try:
            with Image.open(file) as image:
                sizes.append(image.size)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # the inspection names those that cannot be read
    if not sizes:
        return in_bytes
    return [
        _lengths([width for width, _ in sizes], "pixels wide"),
        _lengths([height for _, height in sizes], "pixels high"),
    ]
