"""Files of activations, kept within a budget and shared by the workers of a machine. Needs no torch.

There are two folders: one in memory (a tmpfs, so that what one worker computed is host memory to all), and one on disk.
A new file takes the first that has room; for that the least recently used goes, from memory to disk and from disk for
good. A file in use is locked and stays. A lock dies with its process, so a killed worker blocks nobody, and what it
left half-written is removed.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - made private below
NAME = f"luthier-prefixes-{os.getuid()}"
USERS = ".users"  # locked by every process that may use a folder
GIBIBYTE = 2**30
WAIT_SECONDS = 0.05  # between looks at a file that another worker computes


_held: dict[Path, IO[str]] = {}  # locks, for as long as this process lives


class NoRoom(Exception):
    """Neither folder has room for a file. The text says how much there is."""


@dataclass(frozen=True)
class Tier:
    """A folder and how many bytes its files may have together."""

    folder: Path
    bytes: int


class PrefixFiles:
    """The files of one machine's workers. `find` and `build` give an open file, locked until it is closed."""

    def __init__(self, tiers: list[Tier]) -> None:
        self.tiers = [tier for tier in tiers if tier.bytes > 0]
        for tier in self.tiers:
            tier.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def find(self, key: str) -> IO[bytes] | None:
        """The whole file of that key, now the most recently used."""
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

    def build(self, key: str, size: int, write: Callable[[Path], None], tick: Callable[[], None]) -> IO[bytes]:
        """The file of that key; where there is none, `write` fills the `size` bytes at a path first.

        Of several workers one writes and the others wait, calling `tick`. Raises NoRoom, and what `write` raises.
        """
        with self._turn(key, tick):
            found = self.find(key)
            if found is not None:
                return found
            path = self._reserve(key, size)
            try:
                write(path)
                path.replace(path.with_name(key))
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        found = self.find(key)
        if found is None:
            raise NoRoom("it was removed at once by another worker's need of room")
        return found

    def bytes(self) -> list[int]:
        """What each folder's files take now."""
        return [sum(size for _, _, size in self._files(tier)) for tier in self.tiers]

    @contextmanager
    def _turn(self, key: str, tick: Callable[[], None]) -> Iterator[None]:
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
        """A new file of that size, its blocks allocated, in the first folder that can make room. Raises NoRoom."""
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
        """Move an idle file down, or remove it. False where somebody uses it by now."""
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if "." not in path.name and i + 1 < len(self.tiers) and self._make_room(i + 1, path.stat().st_size):
                below = self.tiers[i + 1].folder / path.name
                partial = below.with_name(f"{path.name}.{os.getpid()}")
                try:
                    shutil.copy2(path, partial)  # with the time of its last use
                    partial.replace(below)
                except OSError:
                    partial.unlink(missing_ok=True)
            path.unlink()
            return True
        return False

    @staticmethod
    def _files(tier: Tier) -> list[tuple[float, Path, int]]:
        """(last use, path, bytes) of every file that holds activations, or is going to."""
        found = []
        for path in tier.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                if stat.S_ISREG(about.st_mode) and not path.name.startswith("."):
                    found.append((about.st_mtime, path, about.st_size))
        return found

    @staticmethod
    def _is_idle(path: Path) -> bool:
        """Whether nobody uses a file; one that is being written belongs to its process."""
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
        about = os.statvfs(tier.folder)
        return about.f_bavail * about.f_frsize


def machine_files() -> PrefixFiles:
    """The files of this user's workers on this machine, which `sweep` leaves alone until this process has ended."""
    tiers = machine_tiers()
    for tier in tiers:
        if tier.folder not in _held:
            _held[tier.folder] = _use(tier.folder)
    return PrefixFiles(tiers)


def _use(folder: Path) -> IO[str]:
    """A folder's lock, shared with all that use it. One that was swept meanwhile is made anew."""
    while True:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            users = (folder / USERS).open("w")
            fcntl.flock(users, fcntl.LOCK_SH)
            if (folder / USERS).exists() and (folder / USERS).stat().st_ino == os.fstat(users.fileno()).st_ino:
                return users
            users.close()


def sweep(patience: float = 0.0) -> None:
    """Remove what lies in memory, once no process uses it any more: nobody would free it.

    `patience`: seconds to wait for a process that is being killed.
    """
    folder, until = SHARED_MEMORY / NAME, time.monotonic() + patience
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
    """This user's folders and budgets: LUTHIER_CACHE_MEMORY and LUTHIER_CACHE_DISK (bytes, 0 for none), and
    LUTHIER_CACHE_DIR. By default a quarter of the machine's memory, or half of what its tmpfs has free, whichever is
    less, and a tenth of the disk's free space.
    """
    tiers = []
    if os.access(SHARED_MEMORY, os.W_OK):
        about = os.statvfs(SHARED_MEMORY)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        allowed = _bytes("LUTHIER_CACHE_MEMORY", min(memory // 4, about.f_blocks * about.f_frsize // 2))
        tiers.append((SHARED_MEMORY / NAME, allowed))
    home = os.environ.get("LUTHIER_CACHE_DIR")
    folder = Path(home) if home else Path(tempfile.gettempdir()) / NAME
    about = os.statvfs(next(parent for parent in (folder, *folder.resolve().parents) if parent.exists()))
    tiers.append((folder, _bytes("LUTHIER_CACHE_DISK", about.f_bavail * about.f_frsize // 10)))
    return [Tier(folder, allowed) for folder, allowed in tiers if allowed > 0 and _is_private(folder)]


def _allocate(descriptor: int, size: int) -> None:
    """Give a file its blocks now: a disk that turns out full under a mapped file would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _bytes(name: str, default: int) -> int:
    text = os.environ.get(name)
    try:
        return default if text is None else int(float(text))
    except (ValueError, OverflowError):
        raise NoRoom(f"{name} must be a number of bytes, not {text!r}") from None


def _is_private(folder: Path) -> bool:
    """Make the folder for this user alone; False where somebody else has."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    about = folder.lstat()
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and stat.S_IMODE(about.st_mode) & 0o022 == 0
