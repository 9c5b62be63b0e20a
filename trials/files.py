"""Files that an assignment names: their checksums, and errors of a full disk."""

import errno
import hashlib
import os
from pathlib import Path

from luthier.studies.wire import FileRef


def file_ref(path: Path) -> FileRef:
    """Name, SHA-256 and size of a whole file. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRef(name=path.name, sha256=digest, bytes=os.fstat(file.fileno()).st_size)


def disk_problem(error: BaseException, folder: Path) -> str | None:
    """A sentence for an error that means a full disk, also where a library has wrapped it; else None."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in str(error) or "os error 28" in str(error):
        return f"The worker's disk is full: free some space for {folder}, or give LUTHIER_HOME another disk."
    return None
