"""Folders of images with a file of their boxes: COCO's JSON, or metadata.jsonl as the hub's data sets have it.

`data.load` calls `box_tables`, `data.sources` calls `box_table`. The file lies in the folder, in its `annotations`, or
in a folder for each split.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from luthier.trials.data.containers import split_of, standard_tables
from luthier.trials.data.media_tree import listed
from luthier.trials.data.readers import read_file
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

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
        BadData: A file cannot be read, or it is not certain which split it is of.
    """
    inner = {child.name: _files(child) for child in sorted(folder.iterdir()) if child.is_dir() and split_of(child.name)}
    if any(inner.values()):
        return {
            split: _read(_only(files, f"{name}/{split}", *path), f"{name}/{split}", roles, *path)
            for split, files in inner.items()
            if files
        }
    files = _files(folder) or (_files(folder / ANNOTATIONS) if (folder / ANNOTATIONS).is_dir() else [])
    if len(files) == 1:
        return {"train": _read(files[0], name, roles, *path)}
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(split_of(file.stem.rstrip(_DIGITS)) or "", []).append(file)  # instances_train2017
    splits.pop("", None)  # captions and key points of COCO beside the boxes have splits, too
    return {split: _read(_only(_of_boxes(found), name, *path), name, roles, *path) for split, found in splits.items()}


def box_table(folder: Path, name: str, roles: Mapping[str, str], *path: str) -> Table:
    """Return the only table of a folder; arguments and errors as those of `box_tables`."""
    tables = box_tables(folder, name, roles, *path)
    if not tables:
        text = f"{name} holds no file of boxes: COCO's json, or metadata.jsonl with the columns {FILE_NAME} and objects"
        raise BadData(f"{text}; put one beside the images, or name a table as dataset.source.", *path)
    if len(tables) > 1 and set(standard_tables(tables).values()) != set(tables):
        raise BadData(f"{name} holds the splits {', '.join(tables)}; name this folder alone as dataset.source.", *path)
    return next(iter(tables.values()))


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder that may hold boxes; metadata alone where it is there."""
    files = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in _ENDINGS and file.is_file() and file.name not in _OTHERS and file.name[0] != "."
    ]
    return [file for file in files if file.stem == "metadata"][:1] or files


def _of_boxes(files: list[Path]) -> list[Path]:
    """Return COCO's files of boxes among those of one split; all where none is called so."""
    return [file for file in files if file.name.startswith("instances")] or files


def _only(files: list[Path], name: str, *path: str) -> Path:
    """Return the one file. Raises BadData."""
    if len(files) > 1:
        text = f"{name} holds {listed([file.name for file in files])}; name the file of the boxes as dataset.source."
        raise BadData(text, *path)
    return files[0]


def _read(file: Path, name: str, roles: Mapping[str, str], *path: str) -> Table:
    """Read a file of a folder. Raises BadData."""
    named = f"{name}/{file.parent.name}/{file.name}" if file.parent.name == ANNOTATIONS else f"{name}/{file.name}"
    if file.stem != "metadata":
        return read_file(file, named, roles, path)
    table = read_file(file, named, {**roles, "image": FILE_NAME}, path)
    if FILE_NAME not in table.header:
        return read_file(file, named, roles, path)
    columns = dict(table.columns)
    columns[roles["image"]] = columns.pop(FILE_NAME)
    header = [roles["image"] if column == FILE_NAME else column for column in table.header]
    return replace(table, header=header, columns=columns)
