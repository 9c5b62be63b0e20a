"""Files that an assignment names: their references, and the errors of a full disk.

Worker, child and jobs call it. It imports neither torch nor an HTTP client.
"""

import errno
import os
from pathlib import Path

from luthier.studies.disk import disk_of, is_full
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
    if not is_full(error):
        return None
    cure = "free some space there, or give LUTHIER_HOME another disk"
    return f"The worker's disk is full: {folder} lies on {disk_of(folder)}; {cure}."


def size_problem(error: BaseException) -> str | None:
    """Return a sentence for an error that means a file larger than a trial's may be; else None."""
    is_large = isinstance(error, OSError) and error.errno == errno.EFBIG
    if not is_large and "File too large" not in str(error) and "os error 27" not in str(error):
        return None
    limit = os.environ.get("LUTHIER_TRIAL_DISK", "")
    cure = "Raise it where the worker runs, or train a smaller model"
    return f"A file of the trial needs more than LUTHIER_TRIAL_DISK = {limit}, which is what a trial may write. {cure}."
