"""Local paths that a spec names: resolved, and required to lie inside the data roots.

All paths to data and models are resolved by it. The data roots are the folders of LUTHIER_DATA_ROOTS, separated by
colons; symbolic links are resolved first. `{project}` in one stands for the project of the study that is worked on, so
that its people reach no files of others. `/` allows every file that the user may read, and so does a missing variable,
but a worker always sets it. The folder of a service's own files is refused wherever it lies: it holds those of every
project. URLs are refused, and nothing is ever downloaded.
"""

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from luthier.studies import uploads
from luthier.studies.uploads import PREFIX, parse_reference
from luthier.trials.errors import BadData

FORMATS = uploads.FORMATS
"""Suffixes of the files that `data.readers` reads."""
OTHERS = (
    *("xlsx", "xlsm", "xls", "ods", "zip", "tar", "tgz", "7z", "rar", "zst", "lz4", "ndjson", "jsonlines", "tab", "pq"),
    *("feather", "ipc", "orc", "avro", "pkl", "pickle", "npy", "npz", "h5", "dta", "sav", "rds", "db", "sqlite", "xml"),
)
"""Suffixes of files that people have instead; a message says how to convert them."""
_PACKED = (".gz", ".bz2", ".xz")
STORE_MARK = ".mark"  # the file by which a worker knows the service's own folder of files
_MARK = re.compile(rb"[0-9a-f]{32}")
_UPLOADED: dict[str, Path] = {}  # id of an uploaded data set -> the folder on this machine that holds its files
_PROJECT = "{project}"  # in a data root
_at_work = {"project": "default"}  # the project of the assignment that is worked on
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def kind_of(name: str) -> str:
    """Return the ending of a file's name, without that of its compression: csv for d.csv.gz."""
    file = Path(name)
    return Path(file.stem if file.suffix.lower() in _PACKED else file.name).suffix.lstrip(".").lower()


def local_path(text: str, *path: str) -> Path | None:
    """Resolve the local path that a spec names.

    Args:
        text: A path, or the id of a model or data set on the hub.
        path: The spec's field, for errors.

    Returns:
        The resolved path; None if there is no such path and `text` may be a hub id.

    Raises:
        BadData: `text` is a URL, lies outside the data roots, or does not exist; or it names an uploaded data set that
            is not there.
    """
    if text.startswith(PREFIX) and path[:1] == ("dataset",):
        return _uploaded_path(text, *path)
    if text.startswith("file://"):
        raise BadData(f"{text}: URLs are not fetched; give the path alone.", *path)
    if "://" in text:
        raise BadData(f"{text}: URLs are not fetched; download it and give its path.", *path)
    if "\0" in text:
        raise BadData("The path holds a NUL character; remove it.", *path)
    try:
        here = Path(text).expanduser()
        resolved, exists = here.resolve(), here.exists()
    except (OSError, RuntimeError) as error:
        raise BadData(f"{text} cannot be opened: {error}. Check the path.", *path) from None
    hub = _HUB_ID.fullmatch(text) is not None and kind_of(text) not in (*FORMATS, *OTHERS)
    if hub and not exists:
        return None
    check_inside_roots(resolved, text, *path)
    if not exists:
        place = "" if str(resolved) == text else f" ({resolved})"
        cure = " `luthier dataset upload` brings a file to every worker." if path[:1] == ("dataset",) else ""
        raise BadData(f"{text} does not exist on this worker; check the path{place}.{cure}", *path)
    return resolved


def set_project(project: str | None) -> None:
    """Say which project the study of an assignment is in, None: `default`; it fills the place in the data roots."""
    _at_work["project"] = project or "default"


def set_uploaded(folders: Mapping[str, str]) -> None:
    """Say where the uploaded data sets of an assignment are on this machine; those of the one before are forgotten.

    Args:
        folders: Id -> the folder with its files, which may be read whatever the data roots are.
    """
    _UPLOADED.clear()
    _UPLOADED.update({id: Path(folder).resolve() for id, folder in folders.items()})


def _uploaded_path(text: str, *path: str) -> Path:
    """Return the file or folder of an uploaded data set. Raises BadData."""
    try:
        reference = parse_reference(text)
    except ValueError as error:
        raise BadData(f"{error}.", *path) from None
    folder = _UPLOADED.get(reference.id) if reference else None
    if reference is None or folder is None:
        raise BadData(f"{text} is not on the service any more: it was deleted. Upload it again, under any name.", *path)
    resolved = (folder / reference.path).resolve()
    if not reference.path and folder.is_dir() and len(inside := list(folder.iterdir())) == 1 and inside[0].is_file():
        return inside[0].resolve()
    if not resolved.is_relative_to(folder) or not resolved.exists():
        listed = f"`luthier dataset get {reference.id}` lists its files"
        raise BadData(f"{text} is not in the data set {reference.id}; {listed}.", *path)
    return resolved


def check_inside_roots(resolved: Path, text: str, *path: str) -> None:
    """Check that a path lies inside the data roots.

    Args:
        resolved: The path, without symbolic links.
        text: The path as the spec names it, for errors.
        path: The spec's field, for errors.

    Raises:
        BadData: LUTHIER_DATA_ROOTS is set, and `resolved` lies in none of its folders, or in the service's own files.
    """
    if not is_inside_roots(resolved):
        if any(map(_is_store, resolved.parents)):
            text = f"{text} lies in the folder where the service keeps the files of all its studies, which no spec may"
            raise BadData(f"{text} read: download a model (`luthier model`), or copy a file to another folder.", *path)
        listed = ", ".join(map(str, _roots() or ())) or "none"
        raise BadData(f"{text} lies outside the folders data may be read from (LUTHIER_DATA_ROOTS: {listed}).", *path)


def is_inside_roots(resolved: Path) -> bool:
    """Return whether a path without symbolic links lies inside the data roots, or there are none."""
    folders = _roots()
    if folders is None or any(resolved.is_relative_to(folder) for folder in _UPLOADED.values()):
        return True
    return any(resolved.is_relative_to(folder) and not _in_store(resolved, folder) for folder in folders)


def _in_store(resolved: Path, root: Path) -> bool:
    """Return whether a path lies in a store of a service below a data root; its files are of all its projects."""
    depth = len(root.parts)
    return any(_is_store(folder) for folder in (resolved, *resolved.parents) if len(folder.parts) >= depth)


@lru_cache(maxsize=4096)  # a table may name many files of a folder
def _is_store(folder: Path) -> bool:
    """Return whether a folder bears the mark of a service's store."""
    try:
        with (folder / STORE_MARK).open("rb") as file:
            return _MARK.fullmatch(file.read(100)) is not None
    except OSError:
        return False


def _roots() -> list[Path] | None:
    """Return the data roots; None where the variable is missing."""
    roots = os.environ.get("LUTHIER_DATA_ROOTS")
    if roots is None:
        return None
    own = roots.replace(_PROJECT, _at_work["project"])
    return [Path(root).expanduser().resolve() for root in own.split(":") if root]
