"""The rows of assignments as studies and users change them: queued, stopped, queued again, cancelled, removed.

`Leases` adds what changes who holds them, and is what `service/dispatch` and `service/lifecycle` are given. A change of
a row that may meanwhile be another one's is one guarded UPDATE.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Update, case, delete, func, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.storage.believable import gpu_seconds
from luthier.service.storage.changes import NOTED, note_assignment
from luthier.service.storage.database import Database, changed_rows
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.protocol import FINISHED, USES, AssignmentKind, Reason, TrialState

RETURNED = {"synchronize_session": False, "populate_existing": True}  # options of an UPDATE that returns its row


@dataclass(frozen=True)
class Assignments:
    """The assignments of all studies. Each method runs inside the caller's transaction, and commits nothing.

    Attributes:
        database: where the rows are.
    """

    database: Database

    def queue(
        self,
        session: Session,
        study: StudyRow,
        kind: AssignmentKind,
        number: int,
        params: dict[str, Any],
        seed: int,
        now: float | ColumnElement[float],
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

    def refuse(self, session: Session, row: AssignmentRow, error: str) -> None:
        """Fail a trial that was just queued, as its configuration turned out to be impossible."""
        guard = update(AssignmentRow).where(AssignmentRow.id == row.id, AssignmentRow.state == TrialState.QUEUED)
        columns = {"state": TrialState.FAILED, "reason": Reason.BAD_DATA, "error": error}
        self._returned(session, guard.values(finished_at=self.database.now(), **columns))

    def stop(self, session: Session, row: AssignmentRow) -> bool:
        """Have a trial that runs end at its next report, or end one that waits now; return False when it has ended.

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

    def promote(self, session: Session, row: AssignmentRow, passed_rung: int) -> bool:
        """Queue a paused trial again, to go on from its file; return False when it is not paused.

        Args:
            session: the caller's transaction, which holds the study's row.
            row: the trial.
            passed_rung: the rung at which it pauses no more, nor at those before.
        """
        columns = {"state": TrialState.QUEUED, "worker": None, "token": None, "passed_rung": passed_rung}
        return self._leave_pause(session, row, columns)

    def end_paused(self, session: Session, row: AssignmentRow, state: TrialState, reason: Reason | None) -> bool:
        """End a paused trial of a locked study that goes on no more; return False when it is not paused."""
        columns = {"state": state, "reason": reason, "finished_at": self.database.now(), "resume": None}
        return self._leave_pause(session, row, columns)

    def _leave_pause(self, session: Session, row: AssignmentRow, columns: dict[str, Any]) -> bool:
        guard = update(AssignmentRow).where(AssignmentRow.id == row.id, AssignmentRow.state == TrialState.PAUSED)
        changed = self._returned(session, guard.values(**columns))
        if changed is not None:
            note_assignment(session, changed)
        return changed is not None

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

    def requeue(self, session: Session, row: AssignmentRow) -> bool:
        """Queue an assignment again that has failed, with no loss counted; return False when it has not failed."""
        guard = update(AssignmentRow).where(AssignmentRow.id == row.id, AssignmentRow.state == TrialState.FAILED)
        columns = {"token": None, "finished_at": None, "reason": None, "error": None}
        queued = self._returned(session, guard.values(state=TrialState.QUEUED, losses=0, **columns))
        if queued is not None:
            note_assignment(session, queued)
        return queued is not None

    def cancel(self, session: Session, study_id: int, started: bool, why: str | None = None) -> None:
        """Cancel the assignments of a locked study that have not ended.

        Args:
            session: the caller's transaction, which holds the study's row.
            study_id: the study.
            started: cancel all of them. False: only queued inspections, trials and comparisons that never started;
                work that was given back, repetitions, evaluations and uses of a winner stay.
            why: a sentence for those who wait for a use of the winner, as a study's own message tells of the rest.
        """
        states = [TrialState.QUEUED, TrialState.RUNNING, TrialState.PAUSED] if started else [TrialState.QUEUED]
        unended = select(AssignmentRow.id).where(AssignmentRow.study_id == study_id, AssignmentRow.state.in_(states))
        if not started:
            unended = unended.where(
                AssignmentRow.kind.not_in((AssignmentKind.CONFIRM, AssignmentKind.EVALUATE, *USES)),
                AssignmentRow.attempt == 0,
            )
        ids = list(session.scalars(unended.with_for_update()))
        error = case((AssignmentRow.kind.in_(USES), why), else_=AssignmentRow.error)
        columns = {"state": TrialState.CANCELLED, "finished_at": self.database.now(), "deadline": None, "token": None}
        cancelled = update(AssignmentRow).where(AssignmentRow.id.in_(ids)).values(error=error, **columns)
        cancelled = cancelled.returning(*NOTED)
        for row in session.execute(cancelled, execution_options={"synchronize_session": False}).all() if ids else ():
            note_assignment(session, row)

    def remove_ended(self, session: Session, *conditions: ColumnElement[bool]) -> None:
        """Delete assignments that have ended; the caller's transaction holds their study's row."""
        removed = delete(AssignmentRow).where(AssignmentRow.state.in_(FINISHED), *conditions)
        for row in session.execute(removed.returning(*NOTED)):
            note_assignment(session, row)

    def remove(self, session: Session, row: AssignmentRow) -> None:
        """Delete an assignment of a locked study in any state; its worker's next message is refused as stale."""
        session.execute(delete(AssignmentRow).where(AssignmentRow.id == row.id))

    def settle(self, session: Session, study_id: int) -> float:
        """Charge the assignments of a locked study that nobody works on with what they used; return what that adds.

        Workers' own messages have done so; it is for those that were cancelled, or whose leases ran out.
        """
        used = gpu_seconds()
        is_open = (
            AssignmentRow.study_id == study_id,
            AssignmentRow.state != TrialState.RUNNING,
            AssignmentRow.gpu_seconds_charged != used,  # not of older versions', which have none
        )
        added = session.scalar(select(func.sum(used - AssignmentRow.gpu_seconds_charged)).where(*is_open))
        if added is not None:
            changed_rows(session, update(AssignmentRow).where(*is_open).values(gpu_seconds_charged=used))
        return float(added or 0.0)

    def _stopped(self, row: AssignmentRow) -> tuple[TrialState, dict[str, Any]]:
        """Return the state of a trial that a user stops while no worker has it, and the columns that come with it."""
        columns: dict[str, Any] = {"finished_at": self.database.now(), "reason": Reason.STOPPED, "resume": None}
        return TrialState.CANCELLED if row.value is None else TrialState.COMPLETE, columns | {"token": None}

    def _returned(self, session: Session, statement: Update) -> AssignmentRow | None:
        """Run a guarded UPDATE of one assignment; return the row with its new values, or None when none matched."""
        return session.scalars(statement.returning(AssignmentRow), execution_options=RETURNED).one_or_none()
