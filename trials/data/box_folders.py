"""Folders of images with a file of their boxes: COCO's JSON, or metadata.jsonl as the hub's data sets have it.

`data.load` calls `box_tables`, `data.sources` calls `box_table`. The file lies in the folder, in its `annotations`, or
in a folder for each split.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from luthier.trials.data.coco import COLUMNS, is_coco
from luthier.trials.data.containers import split_of, standard_tables
from luthier.trials.data.media_tree import listed
from luthier.trials.data.readers import read_file
from luthier.trials.data.tabular import Table
from luthier.trials.data.text_files import read_text
from luthier.trials.errors import BadData
from luthier.trials.paths import check_inside_roots

ANNOTATIONS = "annotations"
"""The folder in which COCO has its files."""
FILE_NAME = "file_name"
"""The column of images in a file called metadata."""
_ENDINGS = (".json", ".jsonl", ".csv")
_DIGITS = "0123456789"
_OTHERS = ("id2label.json", "dataset_info.json", "dataset_infos.json")


def box_tables(folder: Path, name: str, roles: Mapping[str, str], *path: str) -> dict[str, Table]:
    """Return the tables of a folder: one for each split, as its folders or files are called, or one as "train".

    Args:
        folder: The resolved folder.
        name: The folder as the user wrote it, for error messages.
        roles: Role -> column.
        path: The spec's path of the folder, for error messages.

    Returns:
        Split as the folder calls it -> table; empty where it holds no such file.

    Raises:
        BadData: A file cannot be read, it is not certain which split it is of or which of several files has the boxes,
            or a link leads out of the data roots.
    """
    folders = [child for child in sorted(folder.iterdir()) if child.is_dir() and split_of(child.name)]
    inner = {child.name: _files(child, f"{name}/{child.name}", *path) for child in folders}
    if any(inner.values()):
        return {
            split: _read(_only(files, f"{name}/{split}", *path), f"{name}/{split}", roles, *path)
            for split, files in inner.items()
            if files
        }
    files = _files(folder, name, *path)
    if not files and (folder / ANNOTATIONS).is_dir():
        files = _files(folder / ANNOTATIONS, f"{name}/{ANNOTATIONS}", *path)
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(split_of(file.stem.rstrip(_DIGITS)) or "", []).append(file)  # instances_train2017
    if len(splits) > 1:
        splits.pop("", None)
    if "" in splits or len(files) == 1:
        splits = {"train": files}
    return {split: _read(_only(found, name, *path), name, roles, *path) for split, found in splits.items()}


def box_table(folder: Path, name: str, roles: Mapping[str, str], *path: str) -> Table:
    """Return the only table of a folder; arguments and errors as those of `box_tables`."""
    tables = box_tables(folder, name, roles, *path)
    if not tables:
        text = f"{name} holds no file of boxes: COCO's json, or metadata.jsonl with the columns {FILE_NAME} and objects"
        raise BadData(f"{text}; put one beside the images, or name a table as dataset.source.", *path)
    if len(tables) > 1 and set(standard_tables(tables).values()) != set(tables):
        raise BadData(f"{name} holds the splits {', '.join(tables)}; name this folder alone as dataset.source.", *path)
    return next(iter(tables.values()))


def _files(folder: Path, name: str, *path: str) -> list[Path]:
    """Return the files of a folder that may hold boxes; metadata alone where it is there. Raises BadData."""
    check_inside_roots(folder.resolve(), name, *path)
    files = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in _ENDINGS and file.is_file() and file.name not in _OTHERS and file.name[0] != "."
    ]
    return [file for file in files if file.stem == "metadata"][:1] or files


def _only(files: list[Path], name: str, *path: str) -> Path:
    """Return the file of boxes among those of one split, by its name or else by its content. Raises BadData."""
    if len(files) > 1:  # captions and key points of COCO lie beside the boxes
        files = [file for file in files if file.name.startswith("instances")] or files
    if len(files) == 1:
        return files[0]
    right = [file for file in files if _holds_coco(file, _named(file, name), *path)]
    if len(right) != 1:
        text = f"{name} holds {listed([file.name for file in files])}; name the file of the boxes as dataset.source."
        raise BadData(text, *path)
    return right[0]


def _holds_coco(file: Path, named: str, *path: str) -> bool:
    """Return whether a file is COCO's JSON of boxes. Raises BadData where it is a link out of the data roots."""
    check_inside_roots(file.resolve(), named, *path)
    try:
        return is_coco(json.loads(read_text(file, named, path).data), set(COLUMNS))
    except (BadData, OSError, ValueError, RecursionError):
        return False


def _named(file: Path, name: str) -> str:
    """Return a file of a folder as messages name it."""
    return f"{name}/{file.parent.name}/{file.name}" if file.parent.name == ANNOTATIONS else f"{name}/{file.name}"


def _read(file: Path, name: str, roles: Mapping[str, str], *path: str) -> Table:
    """Read a file of a folder. Raises BadData."""
    named = _named(file, name)
    check_inside_roots(file.resolve(), named, *path)
    if file.stem != "metadata":
        return read_file(file, named, roles, path)
    table = read_file(file, named, {**roles, "image": FILE_NAME}, path)
    if FILE_NAME not in table.header:
        return read_file(file, named, roles, path)
    columns = dict(table.columns)
    columns[roles["image"]] = columns.pop(FILE_NAME)
    header = [roles["image"] if column == FILE_NAME else column for column in table.header]
    return replace(table, header=header, columns=columns)
