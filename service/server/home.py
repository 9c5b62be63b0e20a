"""The lock of a home folder: one `luthier serve` in each, and how others find the one that is there.

`serve` takes the lock; `luthier run` and `luthier plan` ask who has it. It is an flock on a file of the home: it ends
with its process, however that ends, and holds across containers that share the folder. On a file system without flock
(some network and cloud ones) a service starts without a lock, and with a warning.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import platform
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from luthier.errors import LuthierError
from luthier.service.errors import RefusedToStart

log = logging.getLogger("luthier")

FILE = "service.lock"  # never removed: two processes could then each lock a file of this name
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
PATIENCE_SECONDS = 0.5  # a process that only asks who has the lock holds it for a moment
START_SECONDS = 10.0  # from the lock to the address: a service opens its database in between


@dataclass(frozen=True)
class Holder:
    """The process that serves a home.

    Attributes:
        pid: its number on its host.
        host: the name of its machine or container.
        since: when it started, as RFC 3339.
        folder: its working directory; relative paths of specs begin there.
        url: where it answers on its host; empty while it starts.
    """

    pid: int
    host: str
    since: str
    folder: str
    url: str = ""

    def __str__(self) -> str:
        """Describe the process as a clause for people."""
        return f"process {self.pid} on {self.host}, since {self.since}" + (f", at {self.url}" if self.url else "")

    @property
    def is_here(self) -> bool:
        """True if the process runs on this machine, or in this container."""
        return self.host == platform.node()


class HomeServed(LuthierError):
    """Another process serves this home; the message names it and the cure."""


class HomeLock:
    """The lock of a home, from the making of this object until `close` or the end of the process."""

    def __init__(self, home: Path) -> None:
        """Take the lock.

        Raises:
            HomeServed: another process has it.
            RefusedToStart: the folder cannot be made or written to.
        """
        self._holder = Holder(
            pid=os.getpid(),
            host=platform.node(),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            folder=str(Path.cwd()),
        )
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._file = (home / FILE).open("a+", encoding="utf-8")
        except OSError as error:
            raise RefusedToStart(
                f"The home folder {home} cannot be used: {error.strerror}. Set LUTHIER_HOME."
            ) from None
        try:
            self._lock(home)
            self._write()
        except BaseException:
            self._file.close()
            raise

    def _lock(self, home: Path) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not _try_lock(self._file.fileno(), fcntl.LOCK_EX, home):
            if time.monotonic() > until:
                raise HomeServed(
                    f"{home} is served already, by {_read(home) or 'another process'}. Use that service, or stop it "
                    "first, or give this one a home of its own with LUTHIER_HOME; services of one Postgres database "
                    "share their files with LUTHIER_STORE."
                )
            time.sleep(0.02)

    def publish(self, url: str) -> None:
        """Let others know where the service answers."""
        self._holder = replace(self._holder, url=url)
        self._write()

    def _write(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(asdict(self._holder)))
        self._file.flush()

    def close(self) -> None:
        """Give the lock back."""
        self._file.close()


def holder_of(home: Path) -> Holder | None:
    """Return the process that serves a home; None if none does, or if the file system has no locks.

    It waits START_SECONDS at most for one that is about to start; its `url` is empty if it does not answer by then.
    """
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            file = (home / FILE).open("rb")
        except OSError:
            return None
        with file:
            if _try_lock(file.fileno(), fcntl.LOCK_SH, home):
                return None
        holder = _read(home)
        if holder is not None and (holder.url or time.monotonic() > until):
            return holder
        time.sleep(0.05)


def _try_lock(descriptor: int, kind: int, home: Path) -> bool:
    """Lock an open file unless another process has it; return whether it is ours, or cannot be locked by anyone."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        log.warning(
            "%s lies on a file system without file locks (%s): start no second service with this home.",
            home,
            error.strerror,
        )
    return True


def _read(home: Path) -> Holder | None:
    """Return what the lock's file says; None while it is being written."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Holder(**json.loads((home / FILE).read_text(encoding="utf-8")))
    return None
