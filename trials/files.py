"""Files that an assignment names: checksums, atomic writes, and the errors of a full disk.

Worker, child and jobs call it. It imports neither torch nor an HTTP client.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier.studies.wire import FileRef


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


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits; the file is read in pieces.

    Raises:
        OSError: The file could not be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_ref(path: Path) -> FileRef:
    """Return the name, SHA-256 and size of a complete file.

    Raises:
        OSError: The file could not be read.
    """
    return FileRef(name=path.name, sha256=sha256_file(path), bytes=path.stat().st_size)


def disk_problem(error: BaseException, folder: Path) -> str | None:
    """Return a sentence for an error that means a full disk, also where a library has wrapped it; else None."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in str(error) or "os error 28" in str(error):
        return f"The worker's disk is full: free some space for {folder}, or give LUTHIER_HOME another disk."
    return None
