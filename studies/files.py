"""Complete files and their checksums: atomic writes, files synced to the disk, and SHA-256 of files and streams.

The service and the trials call it. It imports the standard library only, and knows no file of the store by name.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_path(target: Path, temporary: str | None = None) -> Iterator[Path]:
    """Give a temporary path beside `target`, and rename it to `target` on success; no reader sees a part of it.

    After an error the temporary file is removed, and an older `target` stays as it was. Rename and removal need no
    lock, but two writers of one `target` need two names.

    Args:
        target: The path that the complete file gets. Its folder exists.
        temporary: The temporary file's name in the same folder; by default one with this process's id.

    Yields:
        The path to write to.

    Raises:
        OSError: The file could not be renamed.
    """
    path = target.with_name(temporary or f".{target.name}.{os.getpid()}.part")
    try:
        yield path
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Wait until a file's content and its name are on the disk, so that a power cut takes neither.

    Whoever wrote the file, this process need not be it.

    Raises:
        OSError: The disk could not write it, or it is gone.
    """
    for opened in (path, path.parent):
        descriptor = os.open(opened, os.O_RDONLY | os.O_CLOEXEC)
        try:
            sync_descriptor(descriptor)
        finally:
            os.close(descriptor)


def sync_descriptor(descriptor: int) -> None:
    """Wait until an open file, or the names in an open folder, are on the disk.

    Raises:
        OSError: The disk could not write them. A disk that syncs no folders is no error.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits; the file is read in pieces.

    Raises:
        OSError: The file could not be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class HashingWriter:
    """A writer that computes the SHA-256 of the bytes while it passes them to a file.

    Args:
        file: A file that is open for writing bytes. The caller closes it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Write a piece of the content. Raises OSError if the disk refuses it."""
        self._digest.update(chunk)
        self._file.write(chunk)

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes so far, as 64 hexadecimal digits."""
        return self._digest.hexdigest()
