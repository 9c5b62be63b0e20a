"""The sizes of what lies in the store: one walk, folder by folder, without opening a file.

`dispatch/usage.py` and `dispatch/prune.py` call it. Nothing here knows rows, and no link is followed.
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from luthier.service.storage.file_store import ASSIGNMENT_FOLDER, SCHEDULE_FOLDER


class FileSize(NamedTuple):
    """A file of the store, or a folder in which a worker works.

    Attributes:
        name: in its folder of the store.
        bytes: its size; of a folder that of all files in it.
        inode: tells names of one file apart from other files.
        links: how many names the file has; what one of them frees when it goes is nothing, unless it is the last.
    """

    name: str
    bytes: int
    inode: int
    links: int


def folder_sizes(root: Path) -> dict[str, list[FileSize]]:
    """Return folder -> its files, for each folder of an assignment or a schedule. Raises OSError for the store itself.

    Folders of assignments come first, in the order of their ids: a file with two names was made under the first.
    """
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    found: dict[tuple[int, ...], str] = {}
    for name in names:
        if match := ASSIGNMENT_FOLDER.fullmatch(name):
            found[0, int(match[1]), int(match[2])] = name
        elif match := SCHEDULE_FOLDER.fullmatch(name):
            found[1, int(match[1])] = name
    return {found[key]: _files(root / found[key]) for key in sorted(found)}


def _files(folder: Path) -> list[FileSize]:
    files = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # it may vanish meanwhile
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(status.st_mode)
                size = tree_bytes(Path(entry.path)) if is_folder else status.st_size
                files.append(FileSize(entry.name, size, status.st_ino, 1 if is_folder else status.st_nlink))
    return files


def tree_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; 0 where it is not there."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(above, name).lstat().st_size
    return total


def freed_bytes(files: Iterable[FileSize]) -> int:
    """Return what the removal of all these names frees: files of which another name stays free nothing."""
    names: dict[int, list[FileSize]] = {}
    for file in files:
        names.setdefault(file.inode, []).append(file)
    return sum(same[0].bytes for same in names.values() if len(same) >= same[0].links)


def counted_once(folders: Mapping[str, list[FileSize]]) -> dict[str, list[FileSize]]:
    """Return the folders with 0 bytes for each further name of a file, so that sums count no file twice."""
    seen: set[int] = set()
    found = {}
    for folder, files in folders.items():
        found[folder] = [
            FileSize(file.name, 0 if file.links > 1 and file.inode in seen else file.bytes, file.inode, file.links)
            for file in files
        ]
        seen.update(file.inode for file in files if file.links > 1)
    return found
