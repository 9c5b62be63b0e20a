"""The log of changes as streams read it: nothing appears later before what was read.

On Postgres ids are given before a commit: a reader that has seen change 7 may see change 6 appear. So nobody reads
beyond the `settled` change: every transaction that could still bring an earlier one has ended. A transaction holds the
lock of an INSERT on the table from before it gets ids until after it is visible. SQLite has one writer at a time.
"""

from dataclasses import dataclass, field

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from luthier.service.storage.database import Database
from luthier.service.storage.service_tables import ChangeRow

KEPT = 100_000  # changes: those of a study of 5,000 trials with a dozen evaluations each
WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted "
    "AND relation = 'luthier_change'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = "
    "current_database())"
)


@dataclass
class ChangeLog:
    """The changes of all studies in one database. One thread at a time may call `settle`; any may call the rest.

    Attributes:
        database: where they are.
        kept: the most changes that stay; older ones are removed.
        settled: the id up to which nothing is missing any more.
    """

    database: Database
    kept: int = KEPT
    settled: int = 0
    _newest: int = field(default=0, init=False)  # the latest change when we began to wait for `_writers`
    _writers: frozenset[str] = field(default=frozenset(), init=False)  # who might bring an earlier one

    def settle(self) -> int:
        """Look how far the log is complete, and return that id; it never goes back."""
        with self.database.reading() as session:
            newest = session.scalar(select(func.max(ChangeRow.id))) or 0
            writers = frozenset[str]() if self.database.sqlite else frozenset(session.scalars(WRITERS))
        self._writers &= writers
        if not self._writers:
            self.settled = max(self.settled, self._newest)
            self._newest, self._writers = newest, writers
        if not writers:
            self.settled = max(self.settled, newest)
        return self.settled

    def last_id(self, session: Session) -> int:
        """Return the highest id that was ever given."""
        return self.database.last_id(session, ChangeRow)

    def may_lack(self, session: Session, after: int) -> bool:
        """Return whether changes after this id may have been removed already; 0 asks for what there is."""
        return 0 < after < self.last_id(session) - self.kept

    def read(
        self, session: Session, after: int, until: int, limit: int, study_id: int | None = None
    ) -> list[ChangeRow]:
        """Return the changes after one id and up to another, in their order; those of one study, if it is given."""
        statement = select(ChangeRow).where(ChangeRow.id > after, ChangeRow.id <= until)
        if study_id is not None:
            statement = statement.where(ChangeRow.study_id == study_id)
        return list(session.scalars(statement.order_by(ChangeRow.id).limit(limit)))

    def prune(self) -> None:
        """Remove the changes that are too old; a thread of each service calls it now and then."""
        with self.database.reading() as session:
            oldest = self.last_id(session) - self.kept
            if oldest <= 0 or session.scalar(select(func.min(ChangeRow.id)).where(ChangeRow.id <= oldest)) is None:
                return
        with self.database.transaction() as session:
            session.execute(delete(ChangeRow).where(ChangeRow.id <= oldest))
