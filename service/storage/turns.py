"""Turns: the right to do slow work on behalf of a row, outside of any transaction.

`dispatch/claims.py` takes a study's turn to ask Optuna for a trial; `schedules/runs.py` takes a run's turn to execute
its next step. A turn is a token and an expiry in two columns of the row itself. It is not a lock of the database: a
service that dies keeps its turn until it expires, and a service that is too slow finds in its next transaction that
the turn is no longer its own. It must then change nothing.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Update, bindparam, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.errors import Unavailable
from luthier.service.storage.database import KEPT_NOW, Database, changed_rows
from luthier.service.storage.schedule_tables import RunRow
from luthier.service.storage.tables import StudyRow

TURN_SECONDS = 60.0  # to ask Optuna, or to copy a model, takes seconds: a longer turn was left behind by a crash
RETRY_SECONDS = 0.1  # between looks at whether a turn is free
TAKEN = "Another request has the turn now; try again."


@dataclass(frozen=True)
class Turns:
    """The turns of one table's rows.

    A method that takes a session runs in the caller's transaction and commits nothing. Threads may share an instance.

    Attributes:
        database: its clock decides when a turn expires.
        table: the class of the rows.
        token: the column of the turn's token; NULL while nobody has the turn.
        expires_at: the column of the instant from which on another request may take the turn.
    """

    database: Database
    table: type[StudyRow] | type[RunRow]
    token: InstrumentedAttribute[str | None]
    expires_at: InstrumentedAttribute[float | None]

    @classmethod
    def to_ask(cls, database: Database) -> "Turns":
        """Return the turns to ask Optuna on a study's behalf."""
        return cls(database, StudyRow, StudyRow.ask_token, StudyRow.ask_expires_at)

    @classmethod
    def to_advance(cls, database: Database) -> "Turns":
        """Return the turns to execute the next step of a schedule's run."""
        return cls(database, RunRow, RunRow.turn, RunRow.turn_until)

    def take(self, session: Session, row_id: int, *conditions: ColumnElement[bool]) -> str | None:
        """Take a row's turn for `TURN_SECONDS`, with one guarded UPDATE.

        Args:
            session: the caller's transaction; the turn counts once it is committed.
            row_id: the row.
            conditions: further conditions on the row.

        Returns:
            The turn's token; None when another request has the turn, or a condition does not hold.
        """
        token = secrets.token_hex(16)
        taken = self._taken.where(*conditions) if conditions else self._taken
        values = {"row_id": row_id, "taken_by": token, "clock_offset": self.database.clock_offset}
        return token if changed_rows(session, taken, values) else None

    @cached_property
    def _taken(self) -> Update:
        went_back = self.expires_at > KEPT_NOW + 2 * TURN_SECONDS  # the clock did, since the turn was taken
        is_free = self.token.is_(None) | (self.expires_at < KEPT_NOW) | went_back
        guard = update(self.table).where(self.table.id == bindparam("row_id"), is_free)
        return guard.values({self.token: bindparam("taken_by"), self.expires_at: KEPT_NOW + TURN_SECONDS})

    @contextmanager
    def waited_for(self, row_id: int) -> Iterator[str]:
        """Take a row's turn, once it is free, in transactions of its own, and give it back at the end of the block.

        Raises:
            Unavailable: another request keeps it for longer than a turn lasts, or the row is gone.
        """
        until = time.monotonic() + TURN_SECONDS + RETRY_SECONDS
        token = None
        while token is None:
            with self.database.transaction() as session:
                token = self.take(session, row_id)
            if token is None:
                if time.monotonic() > until:
                    raise Unavailable(TAKEN, retry_after=1)
                time.sleep(RETRY_SECONDS)
        try:
            yield token
        finally:
            with suppress(SQLAlchemyError), self.database.transaction() as session:  # else it expires
                self.give_back(session, row_id, token)

    @contextmanager
    def given_back_on_error(self, row_id: int, token: str) -> Iterator[None]:
        """Give a turn back when the block ends by an error, so that others need not wait until it expires."""
        try:
            yield
        except BaseException:
            with suppress(SQLAlchemyError), self.database.transaction() as session:
                self.give_back(session, row_id, token)
            raise

    def keep(self, row_id: int, token: str) -> None:
        """Let a turn last for `TURN_SECONDS` from now, in a transaction of its own.

        Raises:
            Unavailable: it has expired and is another request's.
        """
        guard = update(self.table).where(self.table.id == row_id, self.token == token)
        with self.database.transaction() as session:
            if not changed_rows(session, guard.values({self.expires_at: self.database.now() + TURN_SECONDS})):
                raise Unavailable(TAKEN, retry_after=1)

    def is_held(self, row: StudyRow | RunRow, token: str) -> bool:
        """Return whether the turn is still the one of this token. The row must be locked, and read under that lock."""
        return bool(getattr(row, self.token.key) == token)

    @staticmethod
    def free(study: StudyRow) -> None:
        """Free the turn to ask of a locked study, which the caller has; one UPDATE stores it with the study's rest."""
        study.ask_token = study.ask_expires_at = None

    def give_back(self, session: Session, row_id: int, token: str) -> None:
        """Free the turn. Nothing changes when it has expired and is another request's."""
        guard = update(self.table).where(self.table.id == row_id, self.token == token)
        changed_rows(session, guard.values({self.token: None, self.expires_at: None}))
