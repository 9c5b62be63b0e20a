"""The open searches of this process: one `Search` a study, mended when it is opened."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from luthier.service.storage.database import Database
from luthier.service.storage.tables import AssignmentRow, ReportRow, ServiceRow, StudyRow
from luthier.studies.protocol import FINISHED, AssignmentKind, Reason, TrialState
from luthier.studies.search.search import Search
from luthier.studies.search.storage import close_storage, open_storage
from luthier.studies.space import Space

AWAY_SECONDS = 15.0  # a service not heard of for so long is gone


def resolved_space(study: StudyRow) -> Space:
    """The study's space with depths resolved; call it only after the inspection."""
    if study.inspection is None:
        raise LookupError(f"{study.name} has not been inspected yet")
    return study.spec.space.resolved(*study.inspection.depths)


class SearchPool:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._storage = open_storage(database.url)
        self._me = secrets.token_hex(16)
        self._alone = False  # until a look around says so
        self._open: dict[int, Search] = {}
        self._turns: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, study_id: int) -> Iterator[None]:
        """One request of this process at a time may ask on behalf of a study; the others queue here."""
        with self._lock:
            turn = self._turns.setdefault(study_id, threading.Lock())
        with turn:
            yield

    def get(self, study: StudyRow) -> Search:
        """The study's search. Where other services write to the same database, it reads what they wrote."""
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
        """Say that this service is here, and see whether it is the only one. Called every second or so."""
        with self._database.transaction() as session:
            now = self._database.now()
            here = self._database.insert(ServiceRow).values(id=self._me, seen_at=now)
            session.execute(here.on_conflict_do_update(index_elements=["id"], set_={"seen_at": now}))
            session.execute(delete(ServiceRow).where(ServiceRow.seen_at < now - AWAY_SECONDS))
            alone = session.scalar(select(ServiceRow.id).where(ServiceRow.id != self._me).limit(1)) is None
        if alone and not self._alone:
            with self._lock:
                searches = list(self._open.values())
            for search in searches:  # outside of the transaction: one that is being read waits for it
                search.refresh()  # the last time: what the others wrote before they went
        self._alone = alone

    def close(self) -> None:
        """Say that this service is gone, and close what is open."""
        with suppress(SQLAlchemyError), self._database.transaction() as session:  # gone with the database: it runs out
            session.execute(delete(ServiceRow).where(ServiceRow.id == self._me))
        close_storage(self._storage)

    def reconcile(self, study_id: int, search: Search) -> None:
        """Tell Optuna of trials that ended in our rows only: a crash, or its storage's failure, came between.

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
        """Tell Optuna of a trial's evaluation; whether the trial is to end now, pruned."""
        self._replay_reports(search, row, step - 1)
        return search.report(row.number, step, value)

    def _replay_reports(self, search: Search, row: AssignmentRow, last: int) -> None:
        """Tell Optuna of the evaluations up to `last` that are in our rows only: a service ended between the two, and
        the trial went on from a checkpoint that came with them."""
        if last < 1 or search.has_report(row.number, last):
            return
        with self._database.reading() as session:
            made = select(ReportRow).where(ReportRow.assignment_id == row.id, ReportRow.step <= last)
            reports = session.scalars(made.order_by(ReportRow.step)).all()
        for report in reports:
            value = report.metrics.get(search.spec.objective.metric)
            if value is not None:
                search.report(row.number, report.step, value)

    def tell(self, search: Search, row: AssignmentRow) -> None:
        self._replay_reports(search, row, row.step)
        reason = Reason(row.reason) if row.reason else None
        search.tell(row.number, TrialState(row.state), row.value, reason)

    def ended(self, study: StudyRow) -> None:
        """The study has ended: tell Optuna what it has not has_report of yet, and keep nothing open."""
        if study.inspection is not None:
            self.reconcile(study.id, self.get(study))
        self.forget(study.id)

    def forget(self, study_id: int) -> None:
        with self._lock:
            self._open.pop(study_id, None)
            self._turns.pop(study_id, None)
