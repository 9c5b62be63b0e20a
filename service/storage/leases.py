"""Leases on assignments: a method for every change of the holder of an assignment, and how its worker ends it.

`service/dispatch` and `service/lifecycle` call it, always within their own transaction. No module but this one,
`deadlines.py` and `assignments.py` may write an assignment's `state`, `token`, `worker`, `deadline`, `attempt`,
`losses`, times, or reservation of a GPU. A worker's message changes a row through one guarded UPDATE; an UPDATE that
finds no row means that the lease is over (`Stale`).
"""

import secrets
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Double, bindparam, func, inspect, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.errors import Stale
from luthier.service.storage.assignments import RETURNED
from luthier.service.storage.believable import gpu_seconds, gpus, seconds_of
from luthier.service.storage.changes import note_assignment
from luthier.service.storage.database import KEPT_NOW
from luthier.service.storage.deadlines import Deadlines
from luthier.service.storage.reservation import Reservation
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import FINISHED, Outcome, Reason, TrialState
from luthier.studies.wire import FileRef

STALE = "This lease is over: the assignment was given to another worker or ended. Drop the work."


@dataclass(frozen=True)
class Leases(Deadlines):
    """The leases on all assignments: their holders and their deadlines.

    States: `queued -> running -> complete | pruned | failed | cancelled`; `running -> queued` when a worker gives the
    work back, disappears, or does not renew in time; `failed -> queued` for an evaluation that a user resumes;
    `running -> paused -> queued | complete | pruned | cancelled` for a trial that waits at a rung.

    Transactions: each method runs inside the caller's transaction and commits nothing.

    Locks: a transaction that needs both locks the study's row first and the assignment's row second. All code in
    `service/` keeps this order, so that no two transactions wait for each other. Who extends a lease locks the
    assignment alone, and must not lock the study afterwards.

    Clock: every instant is the database's, so that services on several machines agree. It may jump: no deadline is
    further than one lease ahead (`cap_deadlines`), and the reaper takes nothing back after a jump (`clock_watch.py`).

    Receipt: a grant is received once a message comes under it. A lease that ends before was perhaps never heard of, and
    costs the assignment nothing.

    Fencing: a grant makes a new token. The previous holder has an old token, which no guard accepts.

    Events: each method that changes a state, inserts or deletes has the change told (`changes.note_assignment`).

    Threads: an instance has no state of its own, and any number of threads may share it.

    Attributes:
        max_losses: an assignment fails once its workers disappeared so many times.
    """

    max_losses: int

    def grant(
        self,
        session: Session,
        row: AssignmentRow,
        worker: str,
        reservation: Reservation,
        lease_seconds: float | None = None,
    ) -> AssignmentRow | None:
        """Lease a queued assignment to a worker, under a new token, and begin its next attempt.

        Args:
            session: the caller's transaction; for a trial it holds the study's row (`work_queue.lock_working`).
            row: the assignment; it must have been flushed.
            worker: the worker's name.
            reservation: the part of its GPU that the assignment gets.
            lease_seconds: how long this lease lasts without a message; None: as long as all others.

        Returns:
            The row as it is now, or None when another claim was faster.
        """
        values = {
            "assignment_id": row.id,
            "token": secrets.token_urlsafe(24),
            "worker": worker,
            "lease": lease_seconds or self.lease_seconds,
            "lease_seconds": lease_seconds,
            "seconds_expected": reservation.seconds,
            "gpu_seconds_expected": reservation.gpu_seconds,
            "gpu": reservation.gpu,
            "gpu_share": reservation.share,
            "gpu_bytes": reservation.bytes,
            "clock_offset": self.database.clock_offset,
        }
        leased = session.scalars(_granted(), values, execution_options=RETURNED).one_or_none()
        if leased is not None:
            note_assignment(session, leased)
        return leased

    def lock_received(self, session: Session, assignment_id: int, token: str) -> AssignmentRow:
        """Return the assignment as `lock_held` does, marked as received: its worker evidently has it. Raises Stale."""
        row = self.lock_held(session, assignment_id, token)
        row.received = True
        return row

    def lock_held(self, session: Session, assignment_id: int, token: str) -> AssignmentRow:
        """Return the assignment of this lease, locked until the transaction ends, for a change of its row.

        Raises:
            Stale: the token does not hold the assignment, or no longer.
        """
        statement = select(AssignmentRow).where(*_is_held(assignment_id, token)).with_for_update()
        row = session.scalar(statement)
        if row is None:
            raise Stale(STALE)
        return row

    def extend(self, session: Session, assignment_id: int, token: str, seconds: float | None = None) -> AssignmentRow:
        """Move the deadline to one lease from now, and return the row, locked until the transaction ends.

        Args:
            session: the caller's transaction.
            assignment_id: the assignment.
            token: the lease's token.
            seconds: how long the worker says it has been busy with this attempt; None leaves the column.

        Raises:
            Stale: the token does not hold the assignment, or no longer.
        """
        return self._change_held(session, assignment_id, token, self._extended(seconds))

    def extend_changed(self, session: Session, row: AssignmentRow, seconds: float) -> None:
        """Write what has changed of a locked row with its new deadline, in one UPDATE: Postgres copies a row at each.

        Args:
            session: the caller's transaction, without autoflush since the row's first change.
            row: the assignment, as `lock_held` returned it; its new values are read back.
            seconds: how long the worker says it has been busy with this attempt.

        Raises:
            Stale: the lease is over.
        """
        state = inspect(row)
        keys = (attribute.key for attribute in state.mapper.column_attrs)
        changed = {key: getattr(row, key) for key in keys if state.attrs[key].history.added}
        columns = changed | self._extended(seconds)
        if "gpu_share" in changed:  # up to now the attempt had its former share, which SQL still sees
            beyond = (gpus() - changed["gpu_share"]) * columns["seconds"]
            columns["gpu_seconds_before"] = seconds_of(AssignmentRow.gpu_seconds_before) + beyond
        self._change_held(session, row.id, row.token, columns)

    def _extended(self, seconds: float | None) -> dict[str, Any]:
        """Return the columns of a lease that a message extends."""
        columns: dict[str, Any] = {"deadline": self.database.now() + self._own_or_usual_seconds(), "received": True}
        return columns if seconds is None else columns | {"seconds": self._possible(seconds)}

    def expect(self, session: Session, row: AssignmentRow, seconds: float) -> None:
        """Reserve so many seconds of its attempt for a running assignment, whose study is locked. Raises Stale."""
        self._change_held(session, row.id, row.token, {"seconds_expected": seconds})

    def _used(self, columns: dict[str, Any]) -> ColumnElement[float]:
        """Return the GPU seconds of an assignment after a change of these columns, which charge it with no more."""
        seconds: ColumnElement[float] = columns.get("seconds", seconds_of(AssignmentRow.seconds))
        return seconds_of(AssignmentRow.gpu_seconds_before) + seconds * gpus()

    def shrink(self, row: AssignmentRow, reservation: Reservation) -> None:
        """Give back a part of a GPU that a running assignment turned out not to need; its row must be locked."""
        row.gpu_share = reservation.share
        row.gpu_bytes = reservation.bytes

    def end(self, session: Session, row: AssignmentRow, state: TrialState, **columns: Any) -> None:
        """Record how a held assignment ended. Its token stays, so that the worker may repeat the message.

        Args:
            session: the caller's transaction.
            row: the assignment, as `lock_held` returned it.
            state: a state of `FINISHED`.
            columns: further columns that come with the end: reason, error, files; `seconds` as the worker says.

        Raises:
            Stale: the lease is over.
        """
        columns |= {"state": state, "deadline": None, "received": True, "finished_at": self.database.now()}
        if "seconds" in columns:
            columns["seconds"] = self._possible(columns["seconds"])
        columns["gpu_seconds_charged"] = self._used(columns)
        self._change_held(session, row.id, row.token, columns)

    def pause(self, session: Session, row: AssignmentRow, resume: FileRef, seconds: float) -> TrialState:
        """Let a held trial wait at its rung, without a worker; one that a user had asked to stop ends.

        Args:
            session: the caller's transaction, which has locked the row.
            row: the trial, as `lock_held` returned it.
            resume: the file from which it goes on, which is whole in the store.
            seconds: how long the worker says it was busy with this attempt.

        Returns:
            The new state: paused; ended, where a user had asked to stop it. The token stays, as for `end`.

        Raises:
            Stale: the lease is over.
        """
        columns: dict[str, Any] = {"deadline": None, "received": True, "seconds": self._possible(seconds)}
        columns["gpu_seconds_charged"] = self._used(columns)
        state, more = TrialState.PAUSED, {"resume": resume, "resume_step": row.step}
        if row.stop_requested:
            state, more = self._stopped(row)
            del more["token"]
        self._change_held(session, row.id, row.token, columns | more | {"state": state})
        return state

    def release(
        self,
        session: Session,
        row: AssignmentRow,
        lost: bool,
        error: str,
        expired: bool = False,
        seconds: float | None = None,
    ) -> TrialState:
        """Queue a held assignment again, to continue from its checkpoint; lost too often, it fails.

        Args:
            session: the caller's transaction, which has locked the row.
            row: the assignment, as `lock_held` or `expired` returned it.
            lost: the worker or its child process disappeared; False: the worker gave the work back unharmed.
            error: the reason, as a sentence, for the case that the assignment fails.
            expired: the lease ran out. The token of an assignment that fails is then removed, as its worker may not
                repeat an end that it did not report itself.
            seconds: how long the worker says it was busy with this attempt; None leaves the column.

        Returns:
            The new state: queued, or failed; ended, where a user had asked to stop it.

        Raises:
            Stale: the lease is over.
        """
        losses = row.losses + 1 if lost else row.losses
        columns: dict[str, Any] = {"losses": losses, "deadline": None, "received": row.received or not expired}
        if seconds is not None:
            columns["seconds"] = self._possible(seconds)
        if not expired:  # else the study's row is not locked: its next grant or its end settles
            columns["gpu_seconds_charged"] = self._used(columns)
        if lost and losses >= self.max_losses:
            state = TrialState.FAILED
            sentence = f"Its worker vanished {losses} times; the last: {error}"
            columns |= {"finished_at": self.database.now(), "reason": Reason.LOST_WORKER, "error": sentence}
            if expired:
                columns["token"] = None
        elif row.stop_requested:
            state, ended = self._stopped(row)
            columns |= ended
        else:
            state = TrialState.QUEUED
            columns |= {"worker": None, "token": None}
        self._change_held(session, row.id, row.token, columns | {"state": state})
        return state

    def is_recorded(self, session: Session, outcome: Outcome) -> bool:
        """Return whether this outcome was recorded before: a worker repeats it when the answer did not arrive."""
        row = session.get(AssignmentRow, outcome.id)
        return row is not None and row.token == outcome.token and row.state in FINISHED | {TrialState.PAUSED}

    def _change_held(
        self, session: Session, assignment_id: int, token: str | None, columns: dict[str, Any]
    ) -> AssignmentRow:
        """Update the assignment of a lease, and return its row. Raises Stale when the lease is over."""
        guard = update(AssignmentRow).where(*_is_held(assignment_id, token))
        row = self._returned(session, guard.values(**columns))
        if row is None:
            raise Stale(STALE)
        if "state" in columns:
            note_assignment(session, row)
        return row


@cache
def _granted() -> ReturningUpdate[AssignmentRow]:
    """Build the statement of a grant; it is kept, as each claim needs it."""
    told = ("token", "worker", "lease_seconds", "seconds_expected", "gpu", "gpu_share", "gpu_bytes")
    is_queued = AssignmentRow.state == TrialState.QUEUED
    guard = update(AssignmentRow).where(AssignmentRow.id == bindparam("assignment_id"), is_queued)
    return guard.values(
        state=TrialState.RUNNING,
        deadline=KEPT_NOW + bindparam("lease", type_=Double()),
        granted_at=KEPT_NOW,
        received=False,
        attempt=AssignmentRow.attempt + 1,
        started_at=func.coalesce(AssignmentRow.started_at, KEPT_NOW),
        seconds_before=seconds_of(AssignmentRow.seconds_before) + seconds_of(AssignmentRow.seconds),
        seconds=0,
        gpu_seconds_before=gpu_seconds(),
        gpu_seconds_charged=gpu_seconds() + bindparam("gpu_seconds_expected", type_=Double()),  # NULL where unknown
        **{name: bindparam(name) for name in told},
    ).returning(AssignmentRow)


def _is_held(assignment_id: int, token: str | None) -> tuple[ColumnElement[bool], ...]:
    """Return the guard of each message under a lease."""
    return (
        AssignmentRow.id == assignment_id,
        AssignmentRow.token == token,
        AssignmentRow.state == TrialState.RUNNING,
    )
