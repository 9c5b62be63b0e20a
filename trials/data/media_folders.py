"""Folders of images or sounds as tables, and columns of paths or bytes as files that are safe to open.

A folder holds a subfolder per class, or train and validation (val, valid, dev) and test folders that do. Names with a
dot in front, files of other kinds, and links to folders within a class are left out. `data.sources` and `data.columns`
call these functions; no image or sound is decoded here.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from luthier.studies.files import sha256_file
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData
from luthier.trials.paths import check_inside_roots

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
AUDIO_SUFFIXES = frozenset({".aif", ".aiff", ".au", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"})
SUFFIXES: Mapping[str, frozenset[str]] = {"image": IMAGE_SUFFIXES, "audio": AUDIO_SUFFIXES}
"""Role -> the endings of its files."""
_SPLITS = {"train": "train", "test": "test"} | dict.fromkeys(("validation", "val", "valid", "dev"), "validation")


def find_splits(folder: Path) -> dict[str, Path]:
    """Return name -> folder where `folder` holds a folder per split; nothing where it holds one per class."""
    children = {child.name: child for child in _subfolders(folder)}
    return children if "train" in children and len(children) > 1 and set(children) <= set(_SPLITS) else {}


def standard_splits(names: Mapping[str, Path]) -> dict[str, str]:
    """Return train, validation and test -> the name of the folder that holds it, from the result of `find_splits`."""
    return {_SPLITS[name]: name for name in names}


def read_folder(folder: Path, name: str, role: str, *path: str) -> Table:
    """Return a table of a folder with a subfolder per class.

    Args:
        folder: The resolved folder.
        name: The folder as the user wrote it, for error messages.
        role: "image" or "audio", which decides the endings that count.
        path: The spec's path of the folder, for error messages.

    Returns:
        A table with the columns `role` (paths) and label (the subfolder's name).

    Raises:
        BadData: The folder cannot be read, or a class has no file.
    """
    try:
        classes = _subfolders(folder)
        files = {child.name: list(_files(child, SUFFIXES[role])) for child in classes}
    except OSError as error:
        raise BadData(f"{name} cannot be read: {error.strerror or error}. Check its permissions.", *path) from None
    if not classes:
        text = f"{name} holds no folders; put the {role} files of each class into a folder with the class's name."
        raise BadData(text, *path)
    for label, inside in files.items():
        if not inside:
            endings = ", ".join(sorted(SUFFIXES[role]))
            raise BadData(f"{name}/{label} holds no {role} file ({endings}); add some or remove the folder.", *path)
    paths = [file for inside in files.values() for file in inside]
    labels = [label for label, inside in files.items() for _ in inside]
    names = [str(file.relative_to(folder)) for file in paths]
    return Table(name, path, [role, "label"], {role: paths, "label": labels}, len(paths), rows_named=names)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _files(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    for here, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield Path(here, name)


def media(table: Table, column: str) -> list[Path | bytes]:
    """Return a column's files: resolved paths that exist and lie where data may be read, or bytes. Raises BadData."""

    def refuse(row: int, text: str) -> BadData:
        return BadData(f"{table.name}, {table.where(row)}: column {column!r} {text}", *table.path)

    files: list[Path | bytes] = []
    for i, cell in enumerate(table.columns[column]):
        value = cell
        if isinstance(cell, dict):  # as the `datasets` library writes images and sounds
            value = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
        if isinstance(value, Path | str) and str(value).strip():
            try:
                files.append(_checked(str(value), table))
            except (BadData, OSError, RuntimeError, ValueError) as error:
                raise refuse(i, f"names {value}: {_reason(error)}") from None
        elif isinstance(value, bytes | bytearray) and value:
            files.append(bytes(value))
        elif value is None or value in ("", b"") or (isinstance(value, str) and not value.strip()):
            raise refuse(i, "is empty; fill it in or remove the row.")
        else:
            raise refuse(i, f"holds {type(value).__name__} where a path or a file's bytes are wanted.")
    return files


def _reason(error: Exception) -> str:
    if isinstance(error, BadData):
        return error.message
    return f"it cannot be opened ({getattr(error, 'strerror', None) or error}). Check the path and its permissions."


def _checked(path: str, table: Table) -> Path:
    if "://" in path:
        raise BadData("URLs are not fetched; download the files and name their paths.")
    file = (table.folder / path if table.folder else Path(path)).resolve()
    if not any(file.is_relative_to(folder) for folder in table.own_folders):
        check_inside_roots(file, "it")
    status = file.stat()  # a FileNotFoundError becomes the message
    if not file.is_file():
        raise BadData("it is no file. Name a file.")
    if status.st_size == 0:
        raise BadData("the file is empty. Replace it or remove the row.")
    if not os.access(file, os.R_OK):
        raise BadData("it cannot be read. Check its permissions.")
    return file


def content_digest(value: Path | bytes) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return sha256_file(value)


def folder_stamps(folder: Path) -> tuple[tuple[str, int], ...]:
    """Return (path, time in nanoseconds) of each folder below, which changes with files added, removed or renamed."""
    return tuple((here, Path(here).stat().st_mtime_ns) for here, _, _ in os.walk(folder))
