"""Deadlines of leases: which have passed, which no clock can have set, and how long a lease lasts.

The reaper looks by them each second; `Leases` sets them.
"""

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.storage.assignments import Assignments
from luthier.service.storage.believable import possible_seconds
from luthier.service.storage.database import changed_rows
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import TrialState


@dataclass(frozen=True)
class Deadlines(Assignments):
    """The deadlines of running assignments. Every instant is the database's.

    Attributes:
        lease_seconds: how long a lease lasts without a message of its worker.
    """

    lease_seconds: float

    def lease_seconds_of(self, row: AssignmentRow) -> float:
        """Return how long the lease of an assignment lasts without a message."""
        return row.lease_seconds or self.lease_seconds

    def lock_expired(self, session: Session, now: float | None = None) -> list[AssignmentRow]:
        """Return the running assignments past their deadline, locked; rows that another service locked are skipped.

        Args:
            session: the caller's transaction.
            now: the instant to judge by, in seconds since the epoch by the database's clock; None: now.
        """
        instant = self.database.now() if now is None else now
        statement = (
            select(AssignmentRow)
            .where(AssignmentRow.state == TrialState.RUNNING, AssignmentRow.deadline < instant)
            .with_for_update(skip_locked=True)
        )
        return list(session.scalars(statement))

    def cap_deadlines(self, session: Session) -> int:
        """Move deadlines that are further ahead than one lease to one lease from now, and return how many there were.

        No grant and no message sets such a deadline: the database's clock went back. Rows that another transaction has
        locked are left to the next round.
        """
        latest = self.database.now() + self._own_or_usual_seconds()
        is_too_late = (AssignmentRow.state == TrialState.RUNNING) & (AssignmentRow.deadline > latest)
        ids = list(session.scalars(select(AssignmentRow.id).where(is_too_late).with_for_update(skip_locked=True)))
        if not ids:
            return 0
        cap = update(AssignmentRow).where(AssignmentRow.id.in_(ids), is_too_late).values(deadline=latest)
        return changed_rows(session, cap)

    def _own_or_usual_seconds(self) -> ColumnElement[float]:
        return func.coalesce(AssignmentRow.lease_seconds, self.lease_seconds)

    def _possible(self, seconds: float) -> ColumnElement[float]:
        """Return what is stored of the seconds that a worker says it was busy: no more than its lease can have had."""
        return possible_seconds(seconds, self.database.now(), self.lease_seconds)
