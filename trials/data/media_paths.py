"""Cells of a column of images or sounds: each a file that may be read, bytes, or a fault with its reason.

`data.media_columns` locates each row's file with it. Paths start from the folder of their table.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData
from luthier.trials.paths import check_inside_roots

Item = Path | bytes
_LONG = 200  # characters from which a text is looked at: pixels and encoded files are long
_BASE64 = re.compile(r"(?:data:[\w/+.;=-]*;base64,)?[A-Za-z0-9+/=\s_-]{100,}")
_PIXELS = re.compile(r"\[?\s*\d+(?:[\s,;]+\d+){3,}\s*[\s,;\]]*")
_FOLDERS = 500  # folders that are searched for a file


@dataclass(frozen=True)
class Fault:
    """An item that cannot be used.

    Attributes:
        reason: The end of a sentence that says why.
        missing: The path that leads nowhere.
    """

    reason: str
    missing: str | None = None


def located(table: Table, column: str, cell: Any) -> Item | Fault:
    """Return a cell's file: a resolved path that exists and lies where data may be read, or bytes."""
    value = cell
    if isinstance(cell, dict) and cell.get("bytes") is None and cell.get("path") is None:
        keys = ", ".join(map(str, cell)) or "nothing"
        return Fault(f"column {column!r} holds {keys} and no file's bytes; write each as a file, or as its bytes")
    if isinstance(cell, dict):  # as the `datasets` library writes images and sounds
        value = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
    if isinstance(value, Path | str) and str(value).strip():
        text = str(value)
        if isinstance(value, str) and (said := _no_path(text)):  # a folder's own files may have long paths
            return Fault(f"column {column!r} {said}")
        try:
            return _checked(text, table)
        except (BadData, OSError, RuntimeError, ValueError) as error:
            subject = "" if table.rows_named else f"column {column!r} names {text[:_LONG]}: "
            missing = text if isinstance(error, FileNotFoundError) else None
            return Fault(f"{subject}{_reason(error, table)}", missing)
    if isinstance(value, bytes | bytearray) and value:
        return bytes(value)
    if value is None or value in ("", b"") or (isinstance(value, str) and not value.strip()):
        return Fault(f"column {column!r} is empty; fill it in or remove the row")
    kind = "a list" if isinstance(value, list) else type(value).__name__
    return Fault(f"column {column!r} holds {kind} where a path or a file's bytes are wanted; write each as a file")


def _no_path(text: str) -> str | None:
    """Return what a text is that cannot be a path, as the end of a sentence."""
    if _PIXELS.fullmatch(text[:_LONG]):
        return "holds pixels as numbers; write each image as a file, such as png"
    if len(text) > _LONG and _BASE64.match(text):
        return "holds files as base64; decode them, and write each as a file, or as bytes in Parquet"
    return None


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
    if "\\" in path and not file.exists():  # written on Windows
        file = (table.folder or Path()).joinpath(path.replace("\\", "/")).resolve()
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


def whereabouts(table: Table, missing: str) -> str:
    """Return a sentence that says where paths start from, and where a missing file lies if it is found nearby.

    Args:
        table: The table that names it.
        missing: The path, as the table has it.
    """
    base = table.folder
    if base is None:
        return ""
    text = f" Paths start from {base}"
    found = _nearby(base, PureWindowsPath(missing).name)
    return f"{text}: what is called {missing[:_LONG]} lies at {found}, so write it so." if found else f"{text}."


def _nearby(base: Path, name: str) -> str | None:
    """Return the path, from a folder, of a file of this name, with or without an ending, in it or beside it."""
    for start in (base, base.parent):
        try:
            check_inside_roots(start, "it")
        except BadData:
            return None
        for number, (here, folders, files) in enumerate(os.walk(start)):
            if number >= _FOLDERS:
                break
            folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
            match = name if name in files else next((file for file in files if Path(file).stem == name), None)
            if match:
                return os.path.relpath(Path(here, match), base)
    return None
