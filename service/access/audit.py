"""The log of who did what: entries wait in memory for a moment, and are written together after the answers.

The access control adds an entry for each request that changed something or was refused. A request never waits for the
log, nor fails with it: what the database does not take now stays in memory, up to MOST_WAITING entries, and is written
once it does. Refused requests, which anybody can send, are counted instead of written where there are too many.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

from sqlalchemy import Select, delete, insert, select

from luthier.service.access.refusals import Refusals
from luthier.service.caller import DEFAULT_PROJECT
from luthier.service.storage.access_tables import AuditRow
from luthier.service.storage.database import Database

log = logging.getLogger("luthier")

MOST_WAITING = 10_000  # entries that are not written yet
MOST_KEPT = 1_000_000  # entries in the database, whatever their age
PART = 1_000  # entries that are removed at once
MORE = "refused requests"  # the action of an entry that stands for several


@dataclass(frozen=True)
class Entry:
    """What `AuditRow` stores of a request."""

    caller: str
    token_id: int | None
    project: str
    action: str
    subject: str | None
    status: int
    address: str | None

    @property
    def is_refusal(self) -> bool:
        """Whether it changed nothing, since its caller may not."""
        return self.status in (401, 403)


class AuditLog:
    """The log of one service. Threads share it."""

    def __init__(self, database: Database) -> None:
        """Take the database that the log is in."""
        self._database = database
        self._lock = threading.Lock()
        self._one_writer = threading.Lock()
        self._waiting: deque[tuple[float, Entry]] = deque()  # when it was answered, by the monotonic clock; entry
        self._lost = 0  # entries that found no place
        self._refused = Refusals()

    def add(self, entry: Entry) -> bool:
        """Take an entry, and return whether there is something to write now. It waits for nothing."""
        with self._lock:
            if entry.is_refusal and not self._refused.count(entry.address or ""):
                return False
            if len(self._waiting) >= MOST_WAITING:
                self._lost += 1
                return False
            self._waiting.append((time.monotonic(), entry))
        return True

    def write(self) -> None:
        """Write all entries that wait. Raises SQLAlchemyError, and keeps them then."""
        with self._one_writer:
            with self._lock:
                for address, count in self._refused.ended():
                    self._waiting.append((time.monotonic(), _more(address, count)))
                entries, lost = list(self._waiting), self._lost
            if not entries:
                return
            with self._database.transaction() as session:
                now = self._database.time(session)
                rows = [vars(entry) | {"at": now - (time.monotonic() - at)} for at, entry in entries]
                session.connection().execute(insert(AuditRow), rows)
            with self._lock:
                for _ in entries:
                    self._waiting.popleft()
                self._lost -= lost
        if lost:
            log.warning("The log of actions lacks %d entries: the database was away for too long.", lost)

    def prune(self, days: float) -> None:
        """Remove entries that are older than so many days, and those beyond MOST_KEPT; a part of them at a time."""
        with self._database.reading() as session:
            before = self._database.time(session) - days * 86_400
            beyond = self._database.last_id(session, AuditRow) - MOST_KEPT
            first = select(AuditRow.id, AuditRow.at).order_by(AuditRow.id).limit(PART)
            old = [entry for entry, at in session.execute(first) if at < before or entry <= beyond]
        if old:
            with self._database.transaction() as session:
                session.execute(delete(AuditRow).where(AuditRow.id.in_(old)))


def listing(caller: str | None = None, project: str | None = None) -> Select[AuditRow]:
    """Return the entries of a caller, or about a project, or all of them, in no order."""
    rows = select(AuditRow)
    if caller is not None:
        rows = rows.where(AuditRow.caller == caller)
    return rows if project is None else rows.where(AuditRow.project == project)


def _more(address: str, count: int) -> Entry:
    """Return an entry that stands for refused requests which were not written."""
    return Entry("anonymous", None, DEFAULT_PROJECT, MORE, f"{count} more within a minute", 401, address or None)
