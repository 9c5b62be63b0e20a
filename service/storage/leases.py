"""Leases on assignments: a method for every change of the holder or state of an assignment.

`service/dispatch` and `service/lifecycle` call it, always within their own transaction. No other module may write an
assignment's `state`, `token`, `worker`, `deadline`, `attempt`, `losses`, times, or reservation of a GPU. A worker's
message changes a row through one guarded UPDATE; an UPDATE that finds no row means that the lease is over (`Stale`).
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Update, delete, func, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.errors import Stale
from luthier.service.storage.believable import possible_seconds, seconds_of
from luthier.service.storage.changes import NOTED, note_assignment
from luthier.service.storage.database import Database, changed_rows
from luthier.service.storage.reservation import Reservation
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.protocol import FINISHED, USES, AssignmentKind, Outcome, Reason, TrialState

STALE = "This lease is over: the assignment was given to another worker or ended. Drop the work."


@dataclass(frozen=True)
class Leases:
    """The leases on all assignments: their holders and their deadlines.

    States: `queued -> running -> complete | pruned | failed | cancelled`; `running -> queued` when a worker gives the
    work back, disappears, or does not renew in time; `failed -> queued` for an evaluation that a user resumes.

    Transactions: each method runs inside the caller's transaction and commits nothing.

    Locks: a transaction that needs both locks the study's row first and the assignment's row second. All code in
    `service/` keeps this order, so that no two transactions wait for each other. `extend` locks the assignment alone;
    its caller must not lock the study afterwards.

    Clock: every instant is the database's, so that services on several machines agree. It may jump: no deadline is
    further than one lease ahead (`cap_deadlines`), and the reaper takes nothing back after a jump (`clock_watch.py`).

    Receipt: a grant is received once a message comes under it. A lease that ends before was perhaps never heard of, and
    costs the assignment nothing.

    Fencing: a grant makes a new token. The previous holder has an old token, which no guard accepts.

    Events: each method that changes a state, inserts or deletes has the change told (`changes.note_assignment`).

    Threads: an instance has no state of its own, and any number of threads may share it.

    Attributes:
        database: where the rows are.
        lease_seconds: how long a lease lasts without a message of its worker.
        max_losses: an assignment fails once its workers disappeared so many times.
    """

    database: Database
    lease_seconds: float
    max_losses: int

    def queue(
        self,
        session: Session,
        study: StudyRow,
        kind: AssignmentKind,
        number: int,
        params: dict[str, Any],
        seed: int,
        now: float,
        notes: Mapping[str, Any] | None = None,
    ) -> AssignmentRow:
        """Insert an assignment that waits for a worker, and return its row.

        Args:
            session: the caller's transaction, which holds the study's row or has just inserted it.
            study: the study that the work is for.
            kind: the kind of work.
            number: unique for the study and kind; see `AssignmentRow.number`.
            params: the configuration, as the space has it.
            seed: of everything random in the work.
            now: seconds since the epoch, by the database's clock.
            notes: further columns, of a trial that a user asked for.
        """
        row = AssignmentRow(
            study_id=study.id,
            kind=kind,
            number=number,
            state=TrialState.QUEUED,
            params=params,
            seed=seed,
            created_at=now,
            **(notes or {}),
        )
        session.add(row)
        session.flush()
        return row

    def add_ended(self, session: Session, study: StudyRow, number: int, now: float, **columns: Any) -> AssignmentRow:
        """Add a trial that another study has run, as ended, and return its row, which has no id before it is flushed.

        Args:
            session: the caller's transaction, which holds the study's row.
            study: the study that takes the trial over.
            number: of the trial in it.
            now: seconds since the epoch, by the database's clock.
            columns: its state, of `FINISHED`, its configuration, seed and scores, and where it ran.
        """
        times = {"created_at": now, "started_at": now, "finished_at": now}
        row = AssignmentRow(study_id=study.id, kind=AssignmentKind.TRAIN, number=number, **times, **columns)
        session.add(row)
        return row

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
            session: the caller's transaction; for a trial it holds the study's row (`work_queue.has_free_slot`).
            row: the assignment; it must have been flushed.
            worker: the worker's name.
            reservation: the part of its GPU that the assignment gets.
            lease_seconds: how long this lease lasts without a message; None: as long as all others.

        Returns:
            The row as it is now, or None when another claim was faster.
        """
        now = self.database.now()
        guard = update(AssignmentRow).where(AssignmentRow.id == row.id, AssignmentRow.state == TrialState.QUEUED)
        statement = guard.values(
            state=TrialState.RUNNING,
            token=secrets.token_urlsafe(24),
            worker=worker,
            deadline=now + (lease_seconds or self.lease_seconds),
            granted_at=now,
            lease_seconds=lease_seconds,
            received=False,
            attempt=AssignmentRow.attempt + 1,
            started_at=func.coalesce(AssignmentRow.started_at, now),
            seconds_before=seconds_of(AssignmentRow.seconds_before) + seconds_of(AssignmentRow.seconds),
            seconds=0,
            gpu=reservation.gpu,
            gpu_share=reservation.share,
            gpu_bytes=reservation.bytes,
        )
        leased = self._returned(session, statement)
        if leased is not None:
            note_assignment(session, leased)
        return leased

    def lock_held(self, session: Session, assignment_id: int, token: str) -> AssignmentRow:
        """Return the assignment of this lease, locked until the transaction ends; its worker has evidently received it.

        Raises:
            Stale: the token does not hold the assignment, or no longer.
        """
        statement = select(AssignmentRow).where(*_is_held(assignment_id, token)).with_for_update()
        row = session.scalar(statement)
        if row is None:
            raise Stale(STALE)
        row.received = True
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
        columns: dict[str, Any] = {} if seconds is None else {"seconds": self._possible(seconds)}
        columns |= {"deadline": self.database.now() + self._own_or_usual_seconds(), "received": True}
        return self._change_held(session, assignment_id, token, columns)

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
        columns |= {"state": state, "deadline": None, "finished_at": self.database.now()}
        if "seconds" in columns:
            columns["seconds"] = self._possible(columns["seconds"])
        self._change_held(session, row.id, row.token, columns)

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
        columns: dict[str, Any] = {"losses": losses, "deadline": None}
        if seconds is not None:
            columns["seconds"] = self._possible(seconds)
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

    def refuse(self, session: Session, row: AssignmentRow, error: str) -> None:
        """Fail a trial that was just queued, as its configuration turned out to be impossible."""
        guard = update(AssignmentRow).where(AssignmentRow.id == row.id, AssignmentRow.state == TrialState.QUEUED)
        columns = {"state": TrialState.FAILED, "reason": Reason.BAD_DATA, "error": error}
        self._returned(session, guard.values(finished_at=self.database.now(), **columns))

    def stop(self, session: Session, row: AssignmentRow) -> bool:
        """Have a trial that runs end at its next report, or end one that is queued now; return False when it has ended.

        The caller's transaction has locked the row, and its study's before.
        """
        if row.state == TrialState.RUNNING:
            columns: dict[str, Any] = {"stop_requested": True}
        else:
            state, ended = self._stopped(row)
            columns = ended | {"state": state, "deadline": None, "stop_requested": True}
        guard = update(AssignmentRow).where(AssignmentRow.id == row.id, AssignmentRow.state == row.state)
        guard = guard.where(AssignmentRow.state.not_in(FINISHED))
        stopped = self._returned(session, guard.values(**columns))
        if stopped is not None:
            note_assignment(session, stopped)
        return stopped is not None

    def erase(self, session: Session, row: AssignmentRow) -> bool:
        """Empty the row of a trial that a user deletes, and delete its reports; return False when it is running.

        The row stays, cancelled and without a token, as the numbers of trials are dense.
        """
        idle = update(AssignmentRow).where(AssignmentRow.id == row.id, AssignmentRow.state != TrialState.RUNNING)
        finished_at = func.coalesce(AssignmentRow.finished_at, self.database.now())
        emptied = dict.fromkeys(("token", "value", "best_step", "best", "resume", "reason", "error"))
        columns = emptied | {"state": TrialState.CANCELLED, "deleted": True, "finished_at": finished_at, "step": 0}
        erased = self._returned(session, idle.values(**columns))
        if erased is None:
            return False
        note_assignment(session, erased)
        session.execute(delete(ReportRow).where(ReportRow.assignment_id == row.id))
        return True

    def _stopped(self, row: AssignmentRow) -> tuple[TrialState, dict[str, Any]]:
        """Return the state of a trial that a user stops while no worker has it, and the columns that come with it."""
        columns: dict[str, Any] = {"finished_at": self.database.now(), "reason": Reason.STOPPED, "resume": None}
        return TrialState.CANCELLED if row.value is None else TrialState.COMPLETE, columns | {"token": None}

    def requeue(self, session: Session, row: AssignmentRow) -> bool:
        """Queue an assignment again that has failed, with no loss counted; return False when it has not failed."""
        guard = update(AssignmentRow).where(AssignmentRow.id == row.id, AssignmentRow.state == TrialState.FAILED)
        columns = {"token": None, "finished_at": None, "reason": None, "error": None}
        queued = self._returned(session, guard.values(state=TrialState.QUEUED, losses=0, **columns))
        if queued is not None:
            note_assignment(session, queued)
        return queued is not None

    def remove_ended(self, session: Session, *conditions: ColumnElement[bool]) -> None:
        """Delete assignments that have ended; the caller's transaction holds their study's row."""
        removed = delete(AssignmentRow).where(AssignmentRow.state.in_(FINISHED), *conditions)
        for row in session.execute(removed.returning(*NOTED)):
            note_assignment(session, row)

    def remove(self, session: Session, row: AssignmentRow) -> None:
        """Delete an assignment of a locked study in any state; its worker's next message is refused as stale."""
        session.execute(delete(AssignmentRow).where(AssignmentRow.id == row.id))

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

    def cancel(self, session: Session, study_id: int, started: bool) -> None:
        """Cancel the assignments of a locked study that have not ended.

        Args:
            session: the caller's transaction, which holds the study's row.
            study_id: the study.
            started: cancel all of them. False: only queued inspections, trials and comparisons that never started;
                work that was given back, repetitions, evaluations and uses of a winner stay.
        """
        states = [TrialState.QUEUED, TrialState.RUNNING] if started else [TrialState.QUEUED]
        unended = select(AssignmentRow.id).where(AssignmentRow.study_id == study_id, AssignmentRow.state.in_(states))
        if not started:
            unended = unended.where(
                AssignmentRow.kind.not_in((AssignmentKind.CONFIRM, AssignmentKind.EVALUATE, *USES)),
                AssignmentRow.attempt == 0,
            )
        ids = list(session.scalars(unended.with_for_update()))
        columns = {"state": TrialState.CANCELLED, "finished_at": self.database.now(), "deadline": None, "token": None}
        cancelled = update(AssignmentRow).where(AssignmentRow.id.in_(ids)).values(**columns).returning(*NOTED)
        for row in session.execute(cancelled, execution_options={"synchronize_session": False}).all() if ids else ():
            note_assignment(session, row)

    def is_recorded(self, session: Session, outcome: Outcome) -> bool:
        """Return whether this outcome was recorded before: a worker repeats it when the answer did not arrive."""
        row = session.get(AssignmentRow, outcome.id)
        return row is not None and row.token == outcome.token and row.state in FINISHED

    def lease_seconds_of(self, row: AssignmentRow) -> float:
        """Return how long the lease of an assignment lasts without a message."""
        return row.lease_seconds or self.lease_seconds

    def _own_or_usual_seconds(self) -> ColumnElement[float]:
        return func.coalesce(AssignmentRow.lease_seconds, self.lease_seconds)

    def _possible(self, seconds: float) -> ColumnElement[float]:
        """Return what is stored of the seconds that a worker says it was busy: no more than its lease can have had."""
        return possible_seconds(seconds, self.database.now(), self.lease_seconds)

    def _change_held(
        self, session: Session, assignment_id: int, token: str | None, columns: dict[str, Any]
    ) -> AssignmentRow:
        """Update the assignment of a lease, and return its row. Raises Stale when the lease is over."""
        row = self._returned(session, update(AssignmentRow).where(*_is_held(assignment_id, token)).values(**columns))
        if row is None:
            raise Stale(STALE)
        if "state" in columns:
            note_assignment(session, row)
        return row

    def _returned(self, session: Session, statement: Update) -> AssignmentRow | None:
        """Run a guarded UPDATE of one assignment; return the row with its new values, or None when none matched."""
        options = {"synchronize_session": False, "populate_existing": True}
        return session.scalars(statement.returning(AssignmentRow), execution_options=options).one_or_none()


def _is_held(assignment_id: int, token: str | None) -> tuple[ColumnElement[bool], ...]:
    """Return the guard of each message under a lease."""
    return (
        AssignmentRow.id == assignment_id,
        AssignmentRow.token == token,
        AssignmentRow.state == TrialState.RUNNING,
    )
