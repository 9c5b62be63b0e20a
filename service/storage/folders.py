"""Folders of the store, opened without trust: no symbolic link is followed, and only regular files are read.

A worker that shares the disk may write there, and must not lead the service elsewhere. Each file is therefore reached
from an open folder by its bare name, and looked at after it was opened. `file_store.py` alone calls it.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from luthier.studies.files import sync_descriptor

UNSAFE = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR, errno.ENODEV)
"""What opening a link, a folder, a socket or a device as a file gives."""
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


class Folder:
    """An open folder of the store.

    Attributes:
        descriptor: Its file descriptor.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @staticmethod
    @contextlib.contextmanager
    def opened(root: Path, name: str, create: bool = False) -> Iterator["Folder"]:
        """Open a folder directly below `root`, until the block ends.

        Args:
            root: The store, an absolute path.
            name: The folder's bare name.
            create: Make it where it is missing, and sync `root`.

        Raises:
            FileNotFoundError: It is not there, or is no folder (a link to one is none).
            OSError: It cannot be opened or made.
        """
        above = os.open(root, _FLAGS | os.O_DIRECTORY)
        try:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=above)
                    sync_descriptor(above)
            descriptor = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=above)
        except OSError as error:
            if error.errno in UNSAFE:
                raise FileNotFoundError(errno.ENOENT, "it is no folder of the store", name) from None
            raise
        finally:
            os.close(above)
        try:
            yield Folder(descriptor)
        finally:
            os.close(descriptor)

    def read(self, name: str) -> BufferedReader:
        """Open a regular file for reading. Raises FileNotFoundError where it is missing, or is something else."""
        return os.fdopen(self._open(name, os.O_RDONLY), "rb")

    def append(self, name: str) -> BinaryIO:
        """Open a regular file for writing at its end, made where it is missing; what is no file is removed first."""
        for _ in range(2):
            with contextlib.suppress(FileNotFoundError):
                return os.fdopen(self._open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")
            self.remove(name)
        raise FileNotFoundError(errno.ENOENT, "it is no regular file", name)

    def create(self, name: str) -> BinaryIO:
        """Make a file that is not there yet, and open it for writing. Raises OSError."""
        return os.fdopen(self._open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")

    def _open(self, name: str, flags: int) -> int:
        try:
            descriptor = os.open(name, flags | _FLAGS | os.O_NONBLOCK, 0o666, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in UNSAFE:
                raise FileNotFoundError(errno.ENOENT, "it is no regular file", name) from None
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # O_NONBLOCK: a pipe without a writer did not block
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "it is no regular file", name)
        return descriptor

    def rename(self, name: str, new_name: str) -> None:
        """Give a file another name, which replaces the file that had it, and sync the folder. Raises OSError."""
        os.rename(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        sync_descriptor(self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file, or the link itself, if it is there; a folder stays. Raises OSError."""
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(name, dir_fd=self.descriptor)

    def names(self) -> list[str]:
        """Return the names of everything in the folder."""
        return os.listdir(self.descriptor)  # noqa: PTH208 - a descriptor is no path

    def status(self, name: str) -> os.stat_result | None:
        """Return the status of a file, or of a link itself; None where nothing has the name."""
        with contextlib.suppress(FileNotFoundError):
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        return None
