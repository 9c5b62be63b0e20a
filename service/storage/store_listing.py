"""A look at the whole store, and removal of what was seen: only entries whose names have the store's own form.

`dispatch/orphans.py` calls it. What a user keeps in the store under a name of another form is never seen here. No link
is followed. Nothing here knows rows.
"""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.service.storage.file_store import ASSIGNMENT_FOLDER, SCHEDULE_FOLDER, Place
from luthier.service.storage.folders import Folder

WHOLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)  # as `FileName` in studies/wire.py
PART = re.compile(r"\.[A-Za-z0-9].*\.part")  # a file that is being written or received
WORK = re.compile(r"\.(pack|rival)-[A-Za-z0-9_]+")  # a folder in which a worker packs or unpacks a model


@dataclass(frozen=True)
class Entry:
    """A file of the store, a worker's folder in it, or a folder of the store that is empty or a link, at one look.

    Attributes:
        place: Where it is; the name is empty for a folder of the store.
        ids: The ids in the folder's name: of study and assignment, or of a schedule.
        is_temporary: It was never whole: its name is that of work under way.
        is_folder: It is a folder, not a file or a link.
        bytes: What its removal frees.
        inode: Of the file; with `changed_ns` it tells whether it is the same later.
        changed_ns: When content, name or links changed last, by the disk's clock.
    """

    place: Place
    ids: tuple[int, ...]
    is_temporary: bool
    is_folder: bool
    bytes: int
    inode: int
    changed_ns: int

    @property
    def of_schedule(self) -> bool:
        """Whether it lies in the folder of a schedule."""
        return len(self.ids) == 1


def list_store(root: Path) -> list[Entry]:
    """Return what has a name of the store's own form. Folders that vanish meanwhile are left out. Raises OSError."""
    entries: list[Entry] = []
    for name in sorted(path.name for path in root.iterdir()):
        match = ASSIGNMENT_FOLDER.fullmatch(name) or SCHEDULE_FOLDER.fullmatch(name)
        if match is not None:
            with contextlib.suppress(FileNotFoundError):
                entries.extend(_list_folder(root, name, tuple(map(int, match.groups()))))
    return entries


def _list_folder(root: Path, name: str, ids: tuple[int, ...]) -> Iterator[Entry]:
    status = (root / name).lstat()
    if stat.S_ISLNK(status.st_mode):
        yield _entry(Place(name, ""), ids, status)
        return
    with Folder.opened(root, name) as folder:
        names = folder.names()
        for file in names:
            found = _look(folder, Place(name, file), ids)
            if found is not None:
                yield found
        if not names:
            yield _entry(Place(name, ""), ids, status)


def _look(folder: Folder, place: Place, ids: tuple[int, ...]) -> Entry | None:
    """Return an entry of an open folder; None where its name has another form, or it is gone."""
    status = folder.status(place.name)
    if status is None:
        return None
    if stat.S_ISDIR(status.st_mode):
        return _look_at_work(folder, place, ids) if WORK.fullmatch(place.name) else None
    if PART.fullmatch(place.name):
        return _entry(place, ids, status, is_temporary=True)
    return _entry(place, ids, status) if WHOLE.fullmatch(place.name) else None


def _look_at_work(folder: Folder, place: Place, ids: tuple[int, ...]) -> Entry:
    """Return a worker's folder as one entry, which changes whenever anything in it does."""
    total = newest = inode = 0
    for _, _, files, descriptor in os.fwalk(place.name, dir_fd=folder.descriptor):
        above = os.fstat(descriptor)
        inode = inode or above.st_ino
        newest = max(newest, above.st_ctime_ns)
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(file, dir_fd=descriptor, follow_symlinks=False)
                total += status.st_size
                newest = max(newest, status.st_ctime_ns)
    return Entry(place, ids, True, True, total, inode, newest)


def _entry(place: Place, ids: tuple[int, ...], status: os.stat_result, is_temporary: bool = False) -> Entry:
    is_folder = stat.S_ISDIR(status.st_mode)
    freed = status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0
    return Entry(place, ids, is_temporary, is_folder, freed, status.st_ino, status.st_ctime_ns)


def remove_entry(root: Path, entry: Entry) -> bool:
    """Remove an entry, unless it has changed since it was seen; return whether it was removed. Raises OSError."""
    folder_name, name = entry.place
    if not name:
        path = root / folder_name
        if entry != _entry(entry.place, entry.ids, path.lstat()):
            return False
        if entry.is_folder:
            path.rmdir()
        else:
            path.unlink()
        return True
    with Folder.opened(root, folder_name) as folder:
        if _look(folder, entry.place, entry.ids) != entry:
            return False
        if entry.is_folder:
            shutil.rmtree(name, dir_fd=folder.descriptor)
        else:
            folder.remove(name)
    return True
