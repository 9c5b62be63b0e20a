"""The files of uploaded data sets in the store: received beside their place, and moved there whole.

Each data set has a folder `dataset-ID` with the file as it was uploaded and the folder `files`, which workers read.
What is not whole yet lies in a folder of its own, whose lock its process holds; what a killed process left there is
swept. The caller serializes `place` and `remove` of one id; nothing here knows rows.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier.studies.data_archives import unpack_data
from luthier.studies.files import sync_descriptor, sync_file
from luthier.studies.uploads import FILES, ID_DIGITS, is_archive, store_folder, stored_name

DATASET_FOLDER = re.compile(rf"dataset-([0-9a-f]{{{ID_DIGITS}}})", re.ASCII)
UPLOAD = re.compile(r"\.upload-[0-9a-f]{16}", re.ASCII)  # the lock of an upload; its folder has `.files` added
NUMBER = "number"  # the file with the key of the row
FEW_FILES = 256  # so many are synced one by one, more by the system's call for all


class DatasetStore:
    """The data sets in one store. Threads and services share it.

    Args:
        root: The folder of the store.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def upload(self) -> Iterator[Path]:
        """Give a folder for an upload, and remove what is left in it when the block ends. Raises OSError."""
        while True:
            lock = self._root / f".upload-{secrets.token_hex(8)}"
            file = lock.open("x")
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if lock.exists():  # else a sweep has just taken it for another's
                    break
            file.close()
        folder = lock.with_name(f"{lock.name}.files")
        try:
            folder.mkdir(mode=0o755)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
            file.close()

    def complete(self, folder: Path, kind: str, most_bytes: int) -> list[tuple[str, int]]:
        """Make the folder `files` of an upload whose file has arrived, and sync all of it to the disk.

        Args:
            folder: Of the upload; it holds `stored_name(kind)`.
            kind: The data's.
            most_bytes: That it may have, unpacked.

        Returns:
            Path and bytes of each file that workers will read, sorted by path.

        Raises:
            DataArchiveError: An archive cannot be unpacked.
            OSError: The disk refuses a file.
        """
        content, files = folder / stored_name(kind), folder / FILES
        if is_archive(kind):
            unpack_data(content, kind, files, most_bytes)
        else:
            files.mkdir()
            try:
                (files / content.name).hardlink_to(content)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                    raise
                shutil.copyfile(content, files / content.name)
        listing = [
            (path.relative_to(files).as_posix(), path.stat().st_size) for path in files.rglob("*") if path.is_file()
        ]
        if len(listing) > FEW_FILES:
            os.sync()
        else:
            for path in (content, *(files / name for name, _ in listing)):
                sync_file(path)
        return sorted(listing)

    def place(self, folder: Path, id: str, number: int) -> None:
        """Move a complete upload to the place of a data set; what was there goes with the upload's folder.

        Args:
            folder: Of the upload.
            id: The data set's.
            number: The key of its row, which tells later whether this database has made it.
        """
        target = self._root / store_folder(id)
        whole = folder / "whole"
        whole.mkdir()
        (folder / NUMBER).write_text(str(number))
        for path in list(folder.iterdir()):
            if path != whole:
                path.rename(whole / path.name)
        with contextlib.suppress(FileNotFoundError):
            target.rename(folder / "old")
        whole.rename(target)
        self._sync()

    def has(self, id: str, kind: str, size: int) -> bool:
        """Return whether a data set's file and its folder of files are there."""
        folder = self._root / store_folder(id)
        try:
            return (folder / stored_name(kind)).lstat().st_size == size and (folder / FILES).is_dir()
        except OSError:
            return False

    def files(self, id: str) -> Path:
        """Return the folder with the files of a data set, which need not exist."""
        return self._root / store_folder(id) / FILES

    def remove(self, id: str) -> None:
        """Remove the folder of a data set, if it is there; at once, or, where that fails, at the next sweep."""
        with self.upload() as folder, contextlib.suppress(FileNotFoundError):
            (self._root / store_folder(id)).rename(folder / "old")
            self._sync()

    def numbers(self) -> dict[str, int]:
        """Return id -> the key of its row, of each data set whose folder is there; of one without a key nothing."""
        found = {}
        for match in filter(None, (DATASET_FOLDER.fullmatch(path.name) for path in self._root.iterdir())):
            with contextlib.suppress(OSError, ValueError):
                found[match[1]] = int((self._root / match[0] / NUMBER).read_text())
        return found

    def sweep(self) -> None:
        """Remove what uploads have left whose processes were killed. Raises OSError where the store cannot be read."""
        for lock in [path for path in self._root.iterdir() if UPLOAD.fullmatch(path.name)]:
            with contextlib.suppress(OSError), lock.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_name(f"{lock.name}.files"), ignore_errors=True)
                lock.unlink()

    def _sync(self) -> None:
        descriptor = os.open(self._root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            sync_descriptor(descriptor)
        finally:
            os.close(descriptor)
