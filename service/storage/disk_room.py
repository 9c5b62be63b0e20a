"""Whether the disks of the store and of the database have room; while one has none, the service waits.

Whoever meets a full disk says so (`note`); free bytes are also looked at, once a second at most. Reports and the reaper
ask (`problem`): while a disk is full nobody's lease is taken back. Claims ask more (`shortage`): nothing is handed out
from the moment that less than a reserve is free, so that what runs can still write.
"""

import contextlib
import logging
import os
import secrets
import sqlite3
import threading
import time
from pathlib import Path

from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from luthier.service.storage.database import Database
from luthier.studies.disk import default_reserve, disk_of, free_bytes, is_full
from luthier.studies.sizes import told

log = logging.getLogger("luthier")

FULL = "is full"
LOOK_SECONDS = 1.0  # between two looks at most
ENOUGH = 1.1  # work goes on once the reserve and a tenth of it are free, so that it does not stop again at once
LOW_BYTES = 2**20  # with less, neither a database nor a checkpoint can be written
TRIAL_BYTES = 2**18  # written to learn whether there is room again
SQLITE_ERRORS = {sqlite3.SQLITE_FULL: FULL, sqlite3.SQLITE_IOERR: "cannot be written"}  # by primary code
POSTGRES_ERRORS = {"53100": FULL, "58030": "cannot be written"}  # disk_full, io_error


class DiskRoom:
    """The room on a service's disks. Threads share it.

    Attributes:
        latest: what `shortage` found last, without a look.
    """

    def __init__(self, store: Path, database: Database, reserve: int | None = None) -> None:
        """Watch the folder of the store, and the database with the errors of its engine.

        Args:
            store: the folder.
            database: SQLite's file is watched too.
            reserve: bytes that must be free for work to be handed out; None: a share of each disk.
        """
        self.latest: str | None = None
        self._full: str | None = None
        self._reserve = reserve
        self._store = store
        self._database = database
        name = make_url(database.url).database or ""
        self._file = Path(name).absolute() if database.sqlite else None  # None: a server's
        self._store_failed = False  # a write failed since the last trial of one
        self._database_failed: str | None = None  # likewise, and how
        self._looked = -LOOK_SECONDS  # by the monotonic clock
        self._looking = threading.Lock()
        event.listen(database.engine, "handle_error", self._on_error)

    def note(self, error: BaseException) -> str | None:
        """Remember an error that means a full disk, and return the sentence for people; None: another error."""
        cause: BaseException | None = error
        while cause is not None:
            how = _of_database(getattr(cause, "orig", None) or cause)
            if how is not None:
                self._database_failed = how
                self._looked = -LOOK_SECONDS
                return self._about_database(how)
            if is_full(cause):
                self.note_store()
                return self._about_store(FULL)
            cause = cause.__cause__
        return None

    def note_store(self) -> None:
        """Remember that a write to the store failed; the next question tries one."""
        self._store_failed = True
        self._looked = -LOOK_SECONDS

    def problem(self) -> str | None:
        """Return a sentence that names the disk and the folder or file while one is full; None while there is room.

        It may look at the disks and write to them: call it outside of any transaction.
        """
        if time.monotonic() - self._looked >= LOOK_SECONDS and self._looking.acquire(blocking=False):
            try:
                self._looked = time.monotonic()
                found = self._look()
                low = None if found is not None else self._low(self.latest is not None)
                if found is not None and self._full is None:
                    log.error("%s Until then no work is handed out, and no lease is taken back.", found)
                elif low is not None and self.latest is None:
                    log.warning("%s", low)
                elif found is None and low is None and self.latest is not None:
                    log.warning("There is room on the disk again; work goes on.")
                self._full, self.latest = found, found or low
            finally:
                self._looking.release()
        return self._full

    def shortage(self) -> str | None:
        """Return why no work is handed out: `problem`, or that less than the reserve is free; None while it is."""
        self.problem()
        return self.latest

    def free(self) -> list[tuple[str, int, int]]:
        """Return each watched disk: what lies on it, its free bytes, and those that are to stay free."""
        watched = {"store": self._store} | ({} if self._file is None else {"database": self._file.parent})
        found = []
        for name, folder in watched.items():
            with contextlib.suppress(OSError):
                found.append((name, free_bytes(folder), self._kept(folder)))
        return found

    def _kept(self, folder: Path) -> int:
        return default_reserve(folder) if self._reserve is None else self._reserve

    def _low(self, is_low: bool) -> str | None:
        """Return which disk has less than the reserve, with the cure; with `is_low`, a little more must be free."""
        for name, free, reserve in self.free():
            if free < reserve * (ENOUGH if is_low else 1.0):
                folder = self._store if name == "store" else self._file or self._store
                kept, enough = told(reserve), told(int(reserve * ENOUGH))
                return (
                    f"The disk is nearly full: the {name} ({folder}) lies on {disk_of(folder)}, and {kept} are to stay "
                    "free (LUTHIER_DISK_RESERVE). No new work is handed out, what runs goes on. Free some space there; "
                    f"everything goes on by itself once {enough} are free."
                )
        return None

    def _look(self) -> str | None:
        how = _lack_of_folder(self._store, self._store_failed)
        if how is not None:
            return self._about_store(how)
        self._store_failed = False
        failed = self._database_failed is not None
        how = None if self._file is None else _lack_of_folder(self._file.parent, failed)
        if how is None and failed:
            how = self._lack_of_database()
        if how is not None:
            return self._about_database(how)
        self._database_failed = None
        return None

    def _lack_of_database(self) -> str | None:
        """Write to the database as a trial, leave nothing of it, and return how that failed."""
        try:
            with self._database.writing(), Session(self._database.engine) as session:
                session.execute(text("CREATE TABLE luthier_room (filler TEXT)"))
                filler = secrets.token_hex(TRIAL_BYTES // 2)
                session.execute(text("INSERT INTO luthier_room VALUES (:filler)"), {"filler": filler})
                session.rollback()
        except SQLAlchemyError as error:
            return _of_database(getattr(error, "orig", None))
        return None

    def _about_store(self, how: str) -> str:
        return f"The folder {self._store} {how}: it lies on {disk_of(self._store)}. {_cure(how)}"

    def _about_database(self, how: str) -> str:
        if self._file is not None:
            return f"The database {self._file} {how}: it lies on {disk_of(self._file)}. {_cure(how)}"
        url = make_url(self._database.url)
        return f"The disk of the database server at {url.host or 'this machine'} ({url.database}) {how}. {_cure(how)}"

    def _on_error(self, context: ExceptionContext) -> None:
        """Remember an error of any statement; called by threads that hold locks of the database, so it takes none."""
        how = _of_database(context.original_exception)
        if how is not None:
            self._database_failed = how
            self._looked = -LOOK_SECONDS


def _cure(how: str) -> str:
    """Return what to do about a disk that is full, or that cannot be written for another reason."""
    act = "Free some space there" if how == FULL else "Make it writable again"
    return f"{act}; everything goes on by itself then."


def _of_database(error: BaseException | None) -> str | None:
    """Return how a database's disk failed by an error of its driver, as a verb's clause; None: another error."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return SQLITE_ERRORS.get(code & 0xFF)  # extended codes have the primary one in their lowest byte
    return POSTGRES_ERRORS.get(getattr(error, "sqlstate", None) or "")


def _lack_of_folder(folder: Path, failed: bool) -> str | None:
    """Return how a folder cannot be written; None where it can. With `failed` a trial decides, else free bytes do."""
    try:
        if free_bytes(folder) < LOW_BYTES:
            return FULL
        if failed:
            _try_to_write(folder / f".room-{secrets.token_hex(8)}")
    except OSError as error:
        return FULL if is_full(error) else f"cannot be written ({error.strerror})" if failed else None
    return None


def _try_to_write(path: Path) -> None:
    """Write some bytes to the disk, and leave nothing. Raises OSError."""
    try:
        with path.open("wb") as file:
            file.write(secrets.token_bytes(TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
