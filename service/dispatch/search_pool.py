"""The open searches of this process, a `Search` for each study, reconciled with our rows when opened.

Claims ask them, reports tell them, the reaper reconciles them. Our rows are always written first and committed; only
then a search is told, outside of any transaction of ours.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from luthier.service.storage.database import Database
from luthier.service.storage.presence import Presence
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.protocol import FINISHED, AssignmentKind, Reason, TrialState
from luthier.studies.search.search import Search, delete_search
from luthier.studies.search.storage import close_storage, open_storage
from luthier.studies.space import Space


def resolved_space(study: StudyRow) -> Space:
    """Return the study's space with fractions of a depth resolved to blocks.

    Raises:
        LookupError: the study has not been inspected.
        ValidationError: the space does not fit the model.
    """
    if study.inspection is None:
        raise LookupError(f"{study.name} has not been inspected yet")
    return study.spec.space.resolved(*study.inspection.depths)


class SearchPool:
    """The searches of one service. Threads share it; its own locks are held for moments only, except `exclusive`."""

    def __init__(self, database: Database, presence: Presence) -> None:
        """Open Optuna's storage in the service's database."""
        self._database = database
        self._presence = presence
        self._storage = open_storage(database.url)
        self._service_id = secrets.token_hex(16)
        self._alone = False  # until a heartbeat finds no other service
        self._open: dict[int, Search] = {}
        self._exclusive: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()  # over the two dictionaries

    @contextmanager
    def exclusive(self, study_id: int) -> Iterator[None]:
        """Let one thread of this process at a time ask on behalf of a study; others wait here.

        Enter it outside of any transaction: it is held while Optuna draws. Other services are kept out by the turn in
        the study's row.
        """
        with self._lock:
            lock = self._exclusive.setdefault(study_id, threading.Lock())
        with lock:
            yield

    def get(self, study: StudyRow) -> Search:
        """Return the study's search, opened and reconciled if it was not open. The study must be inspected.

        Where other services write to the same database, the search first reads their changes. Call it outside of
        any transaction.
        """
        with self._lock:
            search = self._open.get(study.id)
        if search is not None and not self._alone:
            search.refresh()
        if search is None:
            search = Search(self._storage, study.spec, resolved_space(study), self._database.writing)
            self.reconcile(study.id, search)
            with self._lock:
                search = self._open.setdefault(study.id, search)
        return search

    def heartbeat(self) -> None:
        """Report that this service is there, and see whether it is the only one. The reaper calls it every second."""
        with self._database.transaction() as session:
            alone = self._presence.report_service(session, self._service_id)
        if alone and not self._alone:
            with self._lock:
                searches = list(self._open.values())
            for search in searches:  # outside of the transaction: one that is being read waits for it
                search.refresh()  # the last time: the writes of the others before they went
        self._alone = alone

    def close(self) -> None:
        """Remove this service's row, and close Optuna's storage.

        If the database is down the row stays; it expires after `presence.SERVICE_SECONDS`.
        """
        with suppress(SQLAlchemyError), self._database.transaction() as session:
            self._presence.remove_service(session, self._service_id)
        close_storage(self._storage)

    def reconcile(self, study_id: int, search: Search) -> None:
        """Tell Optuna of trials that ended in our rows only, after a crash or a failure of its storage.

        A trial that Optuna has and our rows lack is not touched here: the next `ask` adopts it.
        """
        unfinished = search.unfinished()
        if not unfinished:
            return
        with self._database.reading() as session:
            ended = session.scalars(
                select(AssignmentRow).where(
                    AssignmentRow.study_id == study_id,
                    AssignmentRow.kind == AssignmentKind.TRAIN,
                    AssignmentRow.number.in_(unfinished),
                    AssignmentRow.state.in_(FINISHED),
                )
            ).all()
        for row in ended:
            self.tell(search, row)

    def report(self, search: Search, row: AssignmentRow, step: int, value: float) -> bool:
        """Tell Optuna of a trial's evaluation, and return whether the trial is to end now, as pruned.

        Args:
            search: the study's search.
            row: the trial.
            step: number of the evaluation, from 1.
            value: the objective's score.
        """
        self._replay_reports(search, row, step - 1)
        return search.report(row.number, step, value)

    def _replay_reports(self, search: Search, row: AssignmentRow, last: int) -> None:
        """Tell Optuna of the evaluations up to step `last` that only our rows have.

        A service ended between the two writes, and the trial continued from a checkpoint that came with the report.
        """
        if last < 1 or search.has_report(row.number, last):
            return
        with self._database.reading() as session:
            statement = select(ReportRow).where(ReportRow.assignment_id == row.id, ReportRow.step <= last)
            reports = session.scalars(statement.order_by(ReportRow.step)).all()
        for report in reports:
            value = report.metrics.get(search.spec.objective.metric)
            if value is not None:
                search.report(row.number, report.step, value)

    def tell(self, search: Search, row: AssignmentRow) -> None:
        """Tell Optuna how a trial ended, after the evaluations that it lacks."""
        self._replay_reports(search, row, row.step)
        reason = Reason(row.reason) if row.reason in set(Reason) else None
        state = TrialState(row.state)
        if state is TrialState.COMPLETE and row.value is None:  # what an older version took for a score is none
            state = TrialState.FAILED
        search.tell(row.number, state, row.value, reason)

    def close_study(self, study: StudyRow) -> None:
        """Bring Optuna up to date about a study that has ended, and close its search."""
        if study.inspection is not None and study.is_readable:
            self.reconcile(study.id, self.get(study))
        self.forget(study.id)

    def delete(self, study: StudyRow) -> None:
        """Delete what Optuna has of a study."""
        delete_search(self._storage, study.name, self._database.writing)

    def forget(self, study_id: int) -> None:
        """Close a study's search, if it is open."""
        with self._lock:
            self._open.pop(study_id, None)
            self._exclusive.pop(study_id, None)
