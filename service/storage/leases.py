"""Every statement that changes who holds an assignment, or its state.

Each is one guarded UPDATE that says whether it won; zero rows means the lease is somebody else's (`Stale`).
`queued -> running -> complete | pruned | failed | cancelled`, and `running -> queued` when a worker gives the work
back, vanishes or lets the lease run out. The token fences: a worker that lost its lease can change nothing.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import CursorResult, Select, Update, func, select, update
from sqlalchemy.orm import Session, aliased
from sqlalchemy.orm.attributes import set_committed_value

from luthier.service.errors import Stale
from luthier.service.storage.database import Database
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import FINISHED, TRAINING, AssignmentKind, Outcome, Reason, StudyState, TrialState

STALE = "This lease is over: the assignment was given to another worker or ended. Drop the work."
WAITING_LOOKED_AT = 20  # queued assignments that a claim considers: the first ones may find no room
WORKING = (StudyState.QUEUED, StudyState.RUNNING, StudyState.STOPPING)


Place = Callable[[AssignmentRow, bool], dict[str, Any] | None]
"""place(row, lock): the columns that say where a queued assignment would run; None when there is no room for it."""


def changed_rows(session: Session, statement: Update) -> int:
    """How many rows a guarded UPDATE changed. Objects loaded before keep their old values."""
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], result).rowcount


@dataclass(frozen=True)
class TrialCounts:
    """A study's trials by state, and the seconds workers were busy with them."""

    states: Mapping[str, int]
    busy_seconds: float

    @classmethod
    def of(cls, session: Session, study_id: int) -> "TrialCounts":
        by_state = (
            select(AssignmentRow.state, func.count(), func.sum(AssignmentRow.seconds + AssignmentRow.seconds_before))
            .where(AssignmentRow.study_id == study_id, AssignmentRow.kind == AssignmentKind.TRAIN)
            .group_by(AssignmentRow.state)
        )
        found = session.execute(by_state).all()
        return cls({state: count for state, count, _ in found}, sum(seconds for _, _, seconds in found))

    def __getitem__(self, state: TrialState) -> int:
        return self.states.get(state, 0)

    @property
    def total(self) -> int:
        return sum(self.states.values())

    @property
    def active(self) -> int:
        return self[TrialState.QUEUED] + self[TrialState.RUNNING]


@lru_cache(maxsize=8)
def _waiting(only: str | None) -> Select[AssignmentRow]:
    """The queued assignments that come next. Built once: every idle worker asks for it every second."""
    other = aliased(AssignmentRow)
    busy = (
        select(func.count(other.id))
        .where(other.study_id == StudyRow.id, other.kind.in_(TRAINING), other.state == TrialState.RUNNING)
        .correlate(StudyRow)
        .scalar_subquery()
    )
    waiting = (
        select(AssignmentRow)
        .join(StudyRow)
        .where(AssignmentRow.state == TrialState.QUEUED)
        .where(StudyRow.state.in_(WORKING) & (busy < StudyRow.parallel) | AssignmentRow.kind.not_in(TRAINING))
        .order_by(AssignmentRow.kind.in_(TRAINING), AssignmentRow.kind != AssignmentKind.INSPECT, AssignmentRow.id)
        .limit(WAITING_LOOKED_AT)
    )
    return waiting if only is None else waiting.where((StudyRow.name == only) | StudyRow.transient)


@dataclass(frozen=True)
class Leases:
    database: Database
    lease_seconds: float
    max_losses: int

    def acquire(self, session: Session, worker: str, place: Place, only: str | None = None) -> AssignmentRow | None:
        """Lease a queued assignment that has room: the most urgent kind first, then the oldest. None when none waits.

        The study's row is locked while its `parallel` is checked, so that two claims can't both take its last place;
        it is locked before the assignment's, as everywhere, so that no two requests wait for each other.
        """
        row = next((row for row in session.scalars(_waiting(only)) if place(row, False) is not None), None)
        if row is None:
            return None
        if row.kind in TRAINING:
            locked = select(StudyRow).where(StudyRow.id == row.study_id).with_for_update()
            study = session.scalar(locked, execution_options={"populate_existing": True})
            if study is None or study.state not in WORKING:
                return None
            busy = (
                AssignmentRow.study_id == study.id,
                AssignmentRow.kind.in_(TRAINING),
                AssignmentRow.state == TrialState.RUNNING,
            )
            if (session.scalar(select(func.count()).where(*busy)) or 0) >= study.parallel:
                return None
        where = place(row, True)
        if where is None:
            return None
        now = self.database.now()
        statement = (
            update(AssignmentRow)
            .where(AssignmentRow.id == row.id, AssignmentRow.state == TrialState.QUEUED)
            .values(**self.lease(worker, now))
        )
        statement = statement.values(
            attempt=AssignmentRow.attempt + 1,
            seconds_before=AssignmentRow.seconds_before + AssignmentRow.seconds,
            seconds=0,
            started_at=func.coalesce(AssignmentRow.started_at, now),
            **where,
        )
        if not changed_rows(session, statement):
            return None
        session.refresh(row)
        return row

    def lease(self, worker: str, now: Any) -> dict[str, Any]:
        """The columns of a fresh lease; `now` is the database's clock, as a number or an expression."""
        return {
            "state": TrialState.RUNNING,
            "token": secrets.token_urlsafe(24),
            "worker": worker,
            "deadline": now + self.lease_seconds,
        }

    def held(self, session: Session, assignment_id: int, token: str) -> AssignmentRow:
        """The assignment this token holds, locked until the transaction's end. Raises Stale."""
        row = session.scalar(
            select(AssignmentRow)
            .where(
                AssignmentRow.id == assignment_id,
                AssignmentRow.token == token,
                AssignmentRow.state == TrialState.RUNNING,
            )
            .with_for_update()
        )
        if row is None:
            raise Stale(STALE)
        return row

    def extend(self, session: Session, assignment_id: int, token: str, **columns: Any) -> None:
        """Move the deadline and store what came with the message. Raises Stale."""
        statement = update(AssignmentRow).where(
            AssignmentRow.id == assignment_id, AssignmentRow.token == token, AssignmentRow.state == TrialState.RUNNING
        )
        if not changed_rows(session, statement.values(deadline=self.database.now() + self.lease_seconds, **columns)):
            raise Stale(STALE)

    def end(self, session: Session, row: AssignmentRow, state: TrialState, **columns: Any) -> None:
        """Record how a held assignment ended. Raises Stale."""
        guard = update(AssignmentRow).where(
            AssignmentRow.id == row.id, AssignmentRow.token == row.token, AssignmentRow.state == TrialState.RUNNING
        )
        columns |= {"state": state, "deadline": None}
        if not changed_rows(session, guard.values(finished_at=self.database.now(), **columns)):
            raise Stale(STALE)
        for column, value in columns.items():
            set_committed_value(row, column, value)

    def release(
        self, session: Session, row: AssignmentRow, lost: bool, error: str, expired: bool = False, **columns: Any
    ) -> TrialState:
        """Queue it again; it goes on from its checkpoint. Lost once too often, it fails. Returns the new state.

        Only the worker that says itself how it ended may repeat that; one whose lease `expired` is fenced off.
        """
        losses = row.losses + 1 if lost else row.losses
        guard = update(AssignmentRow).where(
            AssignmentRow.id == row.id, AssignmentRow.token == row.token, AssignmentRow.state == TrialState.RUNNING
        )
        if losses >= self.max_losses and lost:
            sentence = f"Its worker vanished {losses} times; the last: {error}"
            columns |= {"finished_at": self.database.now(), "reason": Reason.LOST_WORKER, "error": sentence}
            state = TrialState.FAILED
            if expired:
                columns["token"] = None
        else:
            columns |= {"worker": None, "token": None}
            state = TrialState.QUEUED
        changed_rows(session, guard.values(state=state, losses=losses, deadline=None, **columns))
        session.refresh(row)
        return state

    def expired(self, session: Session) -> list[AssignmentRow]:
        """Running assignments past their deadline, locked; other services' reapers skip them."""
        statement = (
            select(AssignmentRow)
            .where(AssignmentRow.state == TrialState.RUNNING, AssignmentRow.deadline < self.database.now())
            .with_for_update(skip_locked=True)
        )
        return list(session.scalars(statement))

    def cancel(self, session: Session, study_id: int, started: bool) -> list[int]:
        """End what of a study's work has never started, or all of it when `started`. Returns the trials' numbers."""
        states = [TrialState.QUEUED, TrialState.RUNNING] if started else [TrialState.QUEUED]
        which = (
            select(AssignmentRow)
            .where(AssignmentRow.study_id == study_id, AssignmentRow.state.in_(states))
            .with_for_update()
        )
        if not started:
            which = which.where(
                AssignmentRow.kind.not_in((AssignmentKind.CONFIRM, AssignmentKind.EVALUATE)), AssignmentRow.attempt == 0
            )
        found = list(session.scalars(which))
        ended = {"state": TrialState.CANCELLED, "finished_at": self.database.now(), "deadline": None, "token": None}
        changed_rows(
            session, update(AssignmentRow).where(AssignmentRow.id.in_([row.id for row in found])).values(**ended)
        )
        return [row.number for row in found if row.kind == AssignmentKind.TRAIN]


def already_finished(session: Session, outcome: Outcome) -> bool:
    """Whether this very outcome was recorded before: finish is repeated when its answer got lost."""
    row = session.get(AssignmentRow, outcome.id)
    return row is not None and row.token == outcome.token and row.state in FINISHED
