"""Pins: hard links that keep the files of a store while a backup copies them, whatever the service removes meanwhile.

`backup.py` alone calls it. The links lie in a folder as uploads have one (`DatasetStore.upload`): what a killed backup
leaves there is swept. A disk without hard links gets copies.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from luthier.service.server.backup_archive import Identity, identity_of
from luthier.service.storage.dataset_store import DATASET_FOLDER
from luthier.service.storage.file_store import ASSIGNMENT_FOLDER, SCHEDULE_FOLDER
from luthier.service.storage.store_listing import WHOLE

NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


class Pin(NamedTuple):
    """A file of the store.

    Attributes:
        identity: it is the same file as long as its place has it.
        path: where its link lies.
    """

    identity: Identity
    path: Path


class Pins:
    """The files of a store that are kept for a backup, by their path in the store."""

    def __init__(self, store: Path, folder: Path) -> None:
        """Take a store, and an empty folder on its disk for the links."""
        self._store, self._folder = store, folder
        self._made = 0
        self.files: dict[str, Pin] = {}

    def update(self) -> None:
        """Pin what is in the store now, and forget what is not. The second call is fast: it pins what is new."""
        present: dict[str, Pin] = {}
        for path in _stored(self._store):
            name = path.relative_to(self._store).as_posix()
            with contextlib.suppress(FileNotFoundError):  # it went just now
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    continue
                before = self.files.get(name)
                if before is None or before.identity != identity_of(status):
                    before = self._pin(path, identity_of(status))
                present[name] = before
        self.files = present

    def _pin(self, path: Path, identity: Identity) -> Pin:
        self._made += 1
        link = self._folder / str(self._made)
        try:
            os.link(path, link, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            shutil.copyfile(path, link)
        return Pin(identity, link)


def _stored(store: Path) -> Iterator[Path]:
    """Yield the whole files of assignments, schedules and data sets; what is being written is left out."""
    for folder in sorted(path for path in store.iterdir() if path.is_dir() and not path.is_symlink()):
        if ASSIGNMENT_FOLDER.fullmatch(folder.name) or SCHEDULE_FOLDER.fullmatch(folder.name):
            with contextlib.suppress(FileNotFoundError):
                yield from sorted(path for path in folder.iterdir() if WHOLE.fullmatch(path.name))
        elif DATASET_FOLDER.fullmatch(folder.name):
            for above, _, names in os.walk(folder):
                yield from (Path(above, name) for name in sorted(names))
