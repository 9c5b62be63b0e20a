"""Folders that hold tables: written by `save_to_disk`, in shards, or with a file for each split.

`data.load` asks `find_tables` for the splits of a folder, and `data.sources` calls `read_tables` for one of them. No
shard is left out silently: a set is read whole, and one of several files given alone is refused.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.studies.syntax import json_fault
from luthier.trials.data.arrow import class_names
from luthier.trials.data.other_folders import refuse_lakes
from luthier.trials.data.readers import read_file
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData
from luthier.trials.paths import FORMATS, check_inside_roots, kind_of

_STATE, _DICTIONARY = "state.json", "dataset_dict.json"  # what `save_to_disk` writes beside its Arrow files
_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "testa"),  # testa and testb are those of CoNLL-2003
    "test": ("test", "testing", "testb"),
}
_SPLIT = re.compile(
    rf"(?<![a-z])({'|'.join(name for names in _NAMES.values() for name in names)})(?![a-z0-9])", re.IGNORECASE
)
_OF = re.compile(r"(.*?)[-_.]?(\d+)[-_.]of[-_.](\d+)(?!\d).*", re.IGNORECASE)
_PART = re.compile(
    r"(.*?)(?:part|shard|chunk)[-_.](\d+)(?!\d).*|(|.*[-_.])(?<![-_.]of[-_.])(0\d{3,})(?:\.\w+)?", re.IGNORECASE
)
_NO_TABLE = re.compile(
    r"[._].*|readme.*|license.*|.*\.(md|py|ya?ml|html|crc|lock)|dataset_infos?\.json|metadata\.json", re.IGNORECASE
)
_MEDIA_KINDS = ("parquet", "arrow")  # of images and sounds, other files name paths and need not be a data set


def find_tables(folder: Path, name: str, path: tuple[str, ...], media: bool) -> dict[str, list[Path]]:
    """Return the tables of a folder.

    Args:
        folder: The resolved folder.
        name: The folder as the user wrote it, for error messages.
        path: The spec's path that names it.
        media: Whether the task is one of images or sounds; only Parquet and Arrow count then.

    Returns:
        Split as the folder names it -> its files, or the folder that `save_to_disk` wrote, in order. A folder without
        splits is "train". Nothing where the folder holds no tables.

    Raises:
        BadData: Shards are missing, or it is not certain which split a file belongs to.
    """
    try:
        return _find(folder, name, path, media)
    except OSError as error:
        raise BadData(f"{name} cannot be read: {error.strerror or error}. Check its permissions.", *path) from None


def _find(folder: Path, name: str, path: tuple[str, ...], media: bool) -> dict[str, list[Path]]:
    """Return the result of `find_tables`. Raises BadData and OSError."""
    if (folder / _DICTIONARY).is_file():
        splits = _json(folder / _DICTIONARY, name, path).get("splits")
        if not isinstance(splits, list) or not all(isinstance(split, str) and split for split in splits):
            raise BadData(f"{name}/{_DICTIONARY} does not list splits; save the data set anew.", *path)
        saved = {split: [folder / Path(split).name] for split in splits}
        if lost := next((split for split, (part,) in saved.items() if not part.is_dir()), None):
            raise BadData(f"{name} lacks the folder {lost}, which is a part of it; fetch it, or save it anew.", *path)
        return saved
    if (folder / _STATE).is_file():
        return {"train": [folder]}
    refuse_lakes(folder, name, path)
    found = _files(folder, media, name, path)
    if not found and (folder / "data").is_dir():  # a clone of a hub repository
        found = _files(folder / "data", media, f"{name}/data", path)
    if not found and not media:
        children = [child for child in sorted(folder.iterdir()) if child.is_dir() and _SPLIT.fullmatch(child.name)]
        found_in = {child.name: _files(child, media, f"{name}/{child.name}", path) for child in children}
        return {split: files for split, inside in found_in.items() if (files := _whole(inside, name, path))}
    return _by_split(found, name, path)


def standard_tables(tables: Mapping[str, Any]) -> dict[str, str]:
    """Return train, validation and test -> the name of the table that holds it, where exactly one does."""
    found = {split: [name for name in tables if name.lower() in names] for split, names in _NAMES.items()}
    return {split: names[0] for split, names in found.items() if len(names) == 1}


def split_of(name: str) -> str | None:
    """Return train, validation or test where the name of a file or folder says one, else None."""
    found = _SPLIT.match(name) or _SPLIT.search(name)
    return None if found is None else next(split for split, names in _NAMES.items() if found[0].lower() in names)


def table_stamps(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return (path, size, time in nanoseconds) of each table that `find_tables` may find in a folder."""
    inner = [
        child for child in folder.iterdir() if child.name in ("data", "annotations") or _SPLIT.fullmatch(child.name)
    ]
    files = (file for here in (folder, *inner) if here.is_dir() for file in here.iterdir())
    tables = sorted(file for file in files if kind_of(file.name) in FORMATS and file.is_file())
    return tuple((str(file), (status := file.stat()).st_size, status.st_mtime_ns) for file in tables)


def _files(folder: Path, media: bool, name: str, path: tuple[str, ...]) -> list[Path]:
    """Return the tables in a folder, in the order of their names, numbers by their value. Raises BadData."""
    check_inside_roots(folder.resolve(), name, *path)
    kinds = _MEDIA_KINDS if media else FORMATS
    files = [
        file
        for file in folder.iterdir()
        if file.is_file() and kind_of(file.name) in kinds and not _NO_TABLE.fullmatch(file.name)
    ]
    return sorted(files, key=lambda file: [(not p.isdigit(), int(p) if p.isdigit() else p) for p in _pieces(file)])


def _pieces(file: Path) -> list[str]:
    return [piece for piece in re.split(r"(\d+)", file.name) if piece]


def _by_split(files: Sequence[Path], name: str, path: tuple[str, ...]) -> dict[str, list[Path]]:
    """Return split -> its files, by the start of their names. Raises BadData where it is not certain."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        found = _SPLIT.match(file.name) or _SPLIT.search(file.name)
        splits.setdefault(found[0].lower() if found else "", []).append(file)
    if "" in splits and len(splits) > 1:
        text = f"{name}: {splits[''][0].name} belongs to no split, and other files do; move it, or name the files "
        raise BadData(text + "in dataset.source as {train: ..., validation: ..., test: ...}.", *path)
    return {split or "train": _whole(inside, name, path) for split, inside in splits.items()}


def _whole(files: Sequence[Path], name: str, path: tuple[str, ...]) -> list[Path]:
    """Return the files of one set. Raises BadData where they are of several, or some are missing."""
    if len(files) < 2 and not any(_OF.fullmatch(file.name) for file in files):
        return list(files)
    sets = {_set_of(file) for file in files}
    if len(sets) > 1 or None in sets or min(_numbers(files), default=0) > 1:
        listed = ", ".join(file.name for file in files[:5]) + (", ..." if len(files) > 5 else "")
        text = f"{name} holds several tables ({listed}), which are no parts of one; name one of them, or one for each "
        raise BadData(text + "split in dataset.source, as {train: ..., validation: ..., test: ...}.", *path)
    numbers = [found for file in files if (found := _OF.fullmatch(file.name))]
    if numbers and len(files) != int(numbers[0][3]):
        there = {int(found[2]) for found in numbers}
        first = min(there) if there and min(there) > 0 else 0
        missing = next((i for i in range(first, first + int(numbers[0][3])) if i not in there), first)
        text = f"{name} holds {len(files)} of {int(numbers[0][3])} parts; number {missing} is missing. Fetch them all."
        raise BadData(text, *path)
    if (gap := _gap(files)) is not None:
        text = f"{name} holds parts such as {files[0].name}, and number {gap} is missing. Fetch them all."
        raise BadData(text, *path)
    return list(files)


def _numbers(files: Sequence[Path]) -> set[int]:
    """Return the numbers of files that are called by a prefix and a number (export-000000000000.csv)."""
    return {int(found[4]) for file in files if (found := _PART.fullmatch(_stem(file))) and found[4]}


def _gap(files: Sequence[Path]) -> int | None:
    """Return the first number that is missing among such files; None for others."""
    numbers = _numbers(files)
    return next((i for i in range(min(numbers), max(numbers)) if i not in numbers), None) if numbers else None


def _stem(file: Path) -> str:
    return file.name.removesuffix(file.suffix)


def _set_of(file: Path) -> tuple[str, ...] | None:
    """Return what the names of all parts of a set have in common, or None for a file that is no part."""
    if found := _OF.fullmatch(file.name):
        return (kind_of(file.name), found[1], found[3])
    if found := _PART.fullmatch(_stem(file)):
        return (kind_of(file.name), found[1] or found[3] or "", "" if found[4] is None else "numbered")
    return None


def refuse_lone_part(file: Path, name: str, path: tuple[str, ...]) -> None:
    """Raise BadData for a file that is one of several parts of a table, by its name or by what lies beside it."""
    of = _OF.fullmatch(file.name)
    folder = str(Path(name).parent)
    cure = f"give their folder ({folder}), which is read whole, or join them."
    if of and int(of[3]) > 1:
        raise BadData(f"{name} is one of {int(of[3])} parts of a table; {cure}", *path)
    mine = _set_of(file)
    if mine is None or of or (kind_of(name) not in _MEDIA_KINDS and not re.search(r"\d{4}", file.name)):
        return
    others = [other for other in file.parent.iterdir() if other != file and _set_of(other) == mine]
    by_dates = min(_numbers([file, *others]), default=0) > 1 or _gap([file, *others]) is not None
    if others and not by_dates:
        raise BadData(f"{name} is one of {len(others) + 1} parts of a table, like {others[0].name}; {cure}", *path)


def read_tables(files: Sequence[Path], name: str, roles: Mapping[str, str], path: tuple[str, ...]) -> Table:
    """Read the parts of one table, or the folder that `save_to_disk` wrote, as one.

    Args:
        files: The parts in order, or the one folder.
        name: The source as the user wrote it, for error messages.
        roles: Role -> the column that it is read from.
        path: The spec's path that names it.

    Raises:
        BadData: A part cannot be read, or differs from the others in its columns or classes.
    """
    features: Mapping[str, list[str]] = {}
    if len(files) == 1 and files[0].is_dir():
        files, features = _saved(files[0], name, path)
    for file in files:
        check_inside_roots(file.resolve(), f"{name}/{file.name}", *path)
    parts = [read_file(file, f"{name}/{file.name}", roles, path) for file in files]
    first = parts[0]
    for part in parts[1:]:
        if part.header != first.header or part.class_names != first.class_names:
            text = f"{part.name} has other columns or classes than {first.name}; write both alike."
            raise BadData(text, *path)
    columns = {column: [value for part in parts for value in part.columns[column]] for column in first.columns}
    rows = sum(part.rows for part in parts)
    names = {**features, **first.class_names}
    rest = tuple(replace(part, columns={}) for part in parts)  # for the names of rows
    return Table(name, path, first.header, columns, rows, names, parts=rest, folder=files[0].parent)


def _saved(folder: Path, name: str, path: tuple[str, ...]) -> tuple[list[Path], Mapping[str, list[str]]]:
    """Return the Arrow files that `save_to_disk` wrote into a folder, and the names of the classes. Raises BadData."""
    state = _json(folder / _STATE, name, path)
    names = [entry.get("filename") for entry in state.get("_data_files") or () if isinstance(entry, dict)]
    files = [folder / Path(file).name for file in names if isinstance(file, str)]
    if not files or state.get("_indices_data_files"):
        raise BadData(f"{name}/{_STATE} lists no files, or a selection of rows; save the data set anew.", *path)
    for file in files:
        if not file.is_file():
            raise BadData(f"{name} lacks {file.name}, which is a part of it; fetch it, or save it anew.", *path)
    info = folder / "dataset_info.json"
    return files, class_names(_json(info, name, path).get("features") if info.is_file() else None)


def _json(file: Path, name: str, path: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the object in a small JSON file. Raises BadData."""
    check_inside_roots(file.resolve(), f"{name}/{file.name}", *path)
    try:
        value = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadData(f"{name}/{file.name} is no JSON ({json_fault(error)}); save the data set anew.", *path) from None
    except OSError as error:
        raise BadData(f"{name}/{file.name} cannot be read ({error.strerror}); save the data set anew.", *path) from None
    if not isinstance(value, dict):
        raise BadData(f"{name}/{file.name} is no JSON object; save the data set anew.", *path)
    return value
