"""The folders of activations that a user's workers on one machine share.

There is one in memory (a tmpfs, so that activations that one worker computed lie in the host memory of all) and one on
disk. The prefix cache opens them. The worker, which imports no torch and so may import nothing else of this package,
sweeps the one in memory when it ends, because no process would free that memory.
"""

import atexit
import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import IO

from luthier.studies import host
from luthier.studies.sizes import size_of
from luthier.trials.prefix.tiered_files import WAIT_SECONDS, NoRoom, Tier, TieredFiles

SHARED_MEMORY, NAME = host.SHARED_MEMORY, host.PREFIXES  # made private below
USERS = ".users"  # every process that may use a folder holds a shared lock on this file in it

_users: dict[Path, IO[str]] = {}  # the locked file of each folder that this process may use


def machine_files() -> TieredFiles:
    """Open the files of this user's workers on this machine. `sweep` leaves them alone until this process has ended.

    Raises:
        NoRoom: A setting is not a number of bytes.
    """
    tiers = machine_tiers()
    for tier in tiers:
        if tier.folder not in _users:
            _users[tier.folder] = _lock_shared(tier.folder)
    return TieredFiles(tiers)


@atexit.register
def release() -> None:
    """Release every folder, so that another process's `sweep` may remove it. A process that ends calls it."""
    while _users:
        _users.popitem()[1].close()


def _lock_shared(folder: Path) -> IO[str]:
    """Take a folder's shared lock, and return the locked file. A folder that was just swept is created again."""
    while True:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            users = (folder / USERS).open("w")
            fcntl.flock(users, fcntl.LOCK_SH)
            if (folder / USERS).exists() and (folder / USERS).stat().st_ino == os.fstat(users.fileno()).st_ino:
                return users
            users.close()


def sweep(patience: float = 0.0) -> None:
    """Remove the folder in memory, unless another process uses it.

    Args:
        patience: Seconds to wait for a process that uses it but is being killed.
    """
    folder = SHARED_MEMORY / NAME
    until = time.monotonic() + patience
    with contextlib.suppress(OSError), (folder / USERS).open("r+") as users:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                return
            if time.monotonic() >= until:
                return
            time.sleep(WAIT_SECONDS)


def machine_tiers() -> list[Tier]:
    """Return this user's folders and their budgets, without folders that others may write to.

    LUTHIER_CACHE_MEMORY and LUTHIER_CACHE_DISK set the budgets in bytes (0: no such folder), LUTHIER_CACHE_DIR the
    folder on disk. Defaults: a quarter of the machine's memory, but at most half of the tmpfs; a tenth of the disk's
    free space; a folder of this user's among the temporary files. LUTHIER_TRIAL_MEMORY leaves a quarter of itself.

    Raises:
        NoRoom: A setting is not a number of bytes.
    """
    tiers = []
    if os.access(SHARED_MEMORY, os.W_OK):
        tmpfs = os.statvfs(SHARED_MEMORY)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        allowed = _bytes("LUTHIER_CACHE_MEMORY", min(memory // 4, tmpfs.f_blocks * tmpfs.f_frsize // 2))
        limit = os.environ.get("LUTHIER_TRIAL_MEMORY", "").strip()
        if limit:  # what this process writes there counts as its memory
            allowed = min(allowed, size_of(limit) // 4)
        tiers.append((SHARED_MEMORY / NAME, allowed))
    folder = cache_folder()
    disk = os.statvfs(next(parent for parent in (folder, *folder.resolve().parents) if parent.exists()))
    tiers.append((folder, _bytes("LUTHIER_CACHE_DISK", disk.f_bavail * disk.f_frsize // 10)))
    return [Tier(folder, allowed) for folder, allowed in tiers if allowed > 0 and _is_private(folder)]


def cache_folder() -> Path:
    """Return the folder on disk; it need not exist."""
    home = os.environ.get("LUTHIER_CACHE_DIR")
    return Path(home) if home else Path(tempfile.gettempdir()) / NAME


def _bytes(name: str, default: int) -> int:
    text = os.environ.get(name)
    try:
        return default if text is None else int(float(text))
    except (ValueError, OverflowError):
        raise NoRoom(f"{name} must be a number of bytes, not {text!r}") from None


def _is_private(folder: Path) -> bool:
    """Create the folder for this user alone; return False if it belongs to another user, or others may write to it."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o022 == 0
