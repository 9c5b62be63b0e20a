"""Files in folders with a budget of bytes each: a fast folder first, then slower ones. Needs no torch.

The prefix cache keeps activations in them, and several processes share them. A new file goes to the first folder that
has room; to make room, the least recently used files move to the next folder, or are removed from the last one. A file
in use is locked and stays. A lock ends with its process, so a killed process blocks no other, and the file that it had
half written is removed. The locks are flock's own: filelock's lock for one file is exclusive only, and its
ReadWriteLock needs a database beside each file, while a shared flock belongs to the open file that `find` returns.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from luthier.studies.files import atomic_path

GIBIBYTE = 2**30
WAIT_SECONDS = 0.05  # between two looks at a file that another worker computes


class NoRoom(Exception):
    """No folder has room for a file. The text says how many bytes each may hold."""


@dataclass(frozen=True)
class Tier:
    """A folder, and the number of bytes that its files may take together."""

    folder: Path
    bytes: int


class TieredFiles:
    """The files of several folders. Folders without a budget are not used, the others are created.

    Args:
        tiers: The folders, the fastest first.
    """

    def __init__(self, tiers: list[Tier]) -> None:
        self.tiers = [tier for tier in tiers if tier.bytes > 0]
        for tier in self.tiers:
            tier.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def find(self, key: str) -> IO[bytes] | None:
        """Open the complete file of a key, which becomes the most recently used one. None if there is none.

        The file holds a shared lock until it is closed, so that no process removes it.
        """
        for tier in self.tiers:
            with contextlib.suppress(FileNotFoundError):
                file = (tier.folder / key).open("rb")
                fcntl.flock(file, fcntl.LOCK_SH)
                with contextlib.suppress(FileNotFoundError):  # unlinked before it was locked
                    if (tier.folder / key).stat().st_ino == os.fstat(file.fileno()).st_ino:
                        os.utime(file.fileno())
                        return file
                file.close()
        return None

    def endings(self) -> set[str]:
        """Return what stands behind the first hyphen in the names of complete files; a name without one has nothing."""
        names = (path.name for tier in self.tiers for _, path, _ in self._files(tier))
        return {name.partition("-")[2] for name in names if "." not in name} - {""}

    def build(self, key: str, size: int, write: Callable[[Path], None], tick: Callable[[], None]) -> IO[bytes]:
        """Open the file of a key as `find` does; if there is none, write it first.

        A single worker writes; others wait for it, on an exclusive lock.

        Args:
            key: The file's name.
            size: Bytes of the file.
            write: Fills the file, which has the right size, at the path that it is given.
            tick: Called between two attempts to get the lock; an exception that it raises ends the wait.

        Raises:
            NoRoom: No folder can make room for the file.
            OSError: The file cannot be written. Exceptions of `write` and `tick` are passed on, too.
        """
        with self._exclusive(key, tick):
            file = self.find(key)
            if file is not None:
                return file
            reserved = self._reserve(key, size)
            with atomic_path(reserved.with_name(key), reserved.name) as path:
                write(path)
        file = self.find(key)
        if file is None:
            raise NoRoom("it was removed at once by another worker's need of room")
        return file

    def bytes(self) -> list[int]:
        """Return the bytes that the files of each folder take now."""
        return [sum(size for _, _, size in self._files(tier)) for tier in self.tiers]

    @contextmanager
    def _exclusive(self, key: str, tick: Callable[[], None]) -> Iterator[None]:
        """Hold the lock of all keys that begin with the same two letters: only its holder may write their files."""
        with (self.tiers[-1].folder / f".{key[:2]}.turn").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    tick()
                    time.sleep(WAIT_SECONDS)
            yield

    def _reserve(self, key: str, size: int) -> Path:
        """Create a file, with its blocks allocated, in the first folder that can make room, and return its path.

        Takes the lock of all folders, so that two processes do not count on the same room. Raises NoRoom.
        """
        if not self.tiers:
            raise NoRoom("no folder for it is allowed")
        with (self.tiers[-1].folder / ".reserving").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for i, tier in enumerate(self.tiers):
                if self._make_room(i, size):
                    path = tier.folder / f"{key}.{os.getpid()}"
                    try:
                        with path.open("xb") as file:
                            os.fchmod(file.fileno(), 0o600)
                            _allocate(file.fileno(), size)
                        return path
                    except OSError as error:
                        path.unlink(missing_ok=True)
                        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EOPNOTSUPP, errno.EINVAL):
                            raise
        allowed = " and ".join(f"{tier.bytes / GIBIBYTE:.1f} GiB in {tier.folder}" for tier in self.tiers)
        raise NoRoom(f"it takes {size / GIBIBYTE:.1f} GiB, and the workers of this machine may keep {allowed}")

    def _make_room(self, i: int, size: int) -> bool:
        """Evict idle files of folder `i`, least recently used first, until `size` bytes fit. False if they cannot."""
        tier = self.tiers[i]
        files = sorted(self._files(tier))
        used = sum(taken for _, _, taken in files)
        idle = [entry for entry in files if self._is_idle(entry[1])]
        if used - sum(taken for _, _, taken in idle) + size > tier.bytes:
            return False
        for _, path, taken in idle:
            if used + size <= tier.bytes and self._free(tier) >= size:
                break
            if self._evict(i, path):
                used -= taken
        return used + size <= tier.bytes and self._free(tier) >= size

    def _evict(self, i: int, path: Path) -> bool:
        """Move an idle file to the next folder, or remove it. False if a process has begun to use it."""
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if "." not in path.name and i + 1 < len(self.tiers) and self._make_room(i + 1, path.stat().st_size):
                below = self.tiers[i + 1].folder / path.name
                with contextlib.suppress(OSError), atomic_path(below, f"{path.name}.{os.getpid()}") as partial:
                    shutil.copy2(path, partial)  # with the time of its last use
            path.unlink()
            return True
        return False

    @staticmethod
    def _files(tier: Tier) -> list[tuple[float, Path, int]]:
        """Return (time of last use, path, bytes) of every file of a folder, complete or being written."""
        files = []
        for path in tier.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if stat.S_ISREG(status.st_mode) and not path.name.startswith("."):
                    files.append((status.st_mtime, path, status.st_size))
        return files

    @staticmethod
    def _is_idle(path: Path) -> bool:
        """Return whether no process uses a file. A file that is being written is used by the process in its name."""
        _, _, writer = path.name.partition(".")
        if writer:
            try:
                os.kill(int(writer), 0)
            except ProcessLookupError:
                return True
            except PermissionError:
                return False
            return False
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    @staticmethod
    def _free(tier: Tier) -> int:
        disk = os.statvfs(tier.folder)
        return disk.f_bavail * disk.f_frsize


def _allocate(descriptor: int, size: int) -> None:
    """Allocate a file's blocks now: a disk that fills up later under a mapped file would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
