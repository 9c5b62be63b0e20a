"""Files that an assignment names: their references, and the errors of a full disk.

Worker, child and jobs call it. It imports neither torch nor an HTTP client.
"""

import errno
from pathlib import Path

from luthier.studies.files import sha256_file
from luthier.studies.wire import FileRef


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
