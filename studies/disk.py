"""Full disks: the errors that mean one, and the words that name the disk for people.

The service and the trials call it. It imports the standard library only.
"""

import errno
import os
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)  # no room, and no room left of a user's share
UNITS = ("bytes", "kB", "MB", "GB", "TB")


def is_full(error: BaseException) -> bool:
    """Return whether an error means a full disk, also where a library has wrapped it in one of its own."""
    full = isinstance(error, OSError) and error.errno in FULL
    return full or "No space left on device" in str(error) or "os error 28" in str(error)


def free_bytes(folder: Path) -> int:
    """Return the bytes that this process may still write there; 0 also where no more files can be made.

    Raises:
        OSError: The folder cannot be asked.
    """
    status = os.statvfs(folder)
    if status.f_files and not status.f_ffree:
        return 0
    return (status.f_bfree if os.geteuid() == 0 else status.f_bavail) * status.f_frsize


def default_reserve(folder: Path) -> int:
    """Return the bytes of a folder's disk that are kept free where nobody has said how many.

    Two hundredths of the disk, between 1 and 10 GiB, but never more than a twentieth of a small one.

    Raises:
        OSError: The folder cannot be asked.
    """
    status = os.statvfs(folder)
    size = status.f_blocks * status.f_frsize
    return min(max(size // 50, 2**30), 10 * 2**30, size // 20)


def disk_of(path: Path) -> str:
    """Return which disk a path lies on, as a clause: its mount point and what is free there, bytes or files."""
    mount = path.absolute()
    while not mount.exists() or not mount.is_mount():
        mount = mount.parent
    try:
        status = os.statvfs(mount)
        if status.f_files and not status.f_ffree:
            return f"the disk of {mount}, which can hold no more files (it has no free inodes)"
        size, unit = float(free_bytes(mount)), 0
    except OSError:
        return f"the disk of {mount}"
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"the disk of {mount}, with {size:.{1 if unit else 0}f} {UNITS[unit]} free"
