"""The open searches of this process: one `Search` a study, mended when it is opened."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select

from service.database import Database
from service.tables import AssignmentRow, StudyRow
from studies.protocol import FINISHED, Kind, Reason, TrialState
from studies.search import Search, close_storage, open_storage
from studies.space import Space


def resolved_space(study: StudyRow) -> Space:
    """The study's space with depths resolved; call it only after the inspection."""
    if study.inspection is None:
        raise LookupError(f"{study.name} has not been inspected yet")
    return study.spec.space.resolved(len(study.inspection.blocks))


class Searches:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._storage = open_storage(database.url)
        self.me = secrets.token_hex(16)
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
        """The study's search. Its row says who wrote last: what another service wrote is read anew."""
        with self._lock:
            search = self._open.get(study.id)
        if search is not None and study.writer not in (None, self.me):
            search.refresh()
        if search is None:
            with self._database.writing():
                search = Search(self._storage, study.spec, resolved_space(study))
            self.reconcile(study.id, search)
            with self._lock:
                search = self._open.setdefault(study.id, search)
        return search

    def reconcile(self, study_id: int, search: Search) -> None:
        """Tell Optuna of trials that ended in our rows only: a crash, or its storage's failure, came between.

        A trial that Optuna has and our rows lack is not touched here: the next `ask` adopts it.
        """
        with self._database.writing():
            unfinished = search.unfinished()
        if not unfinished:
            return
        with self._database.reading() as session:
            ended = session.scalars(
                select(AssignmentRow).where(
                    AssignmentRow.study_id == study_id,
                    AssignmentRow.kind == Kind.TRAIN,
                    AssignmentRow.number.in_(unfinished),
                    AssignmentRow.state.in_(FINISHED),
                )
            ).all()
        for row in ended:
            self.tell(search, row)

    def tell(self, search: Search, row: AssignmentRow) -> None:
        reason = Reason(row.reason) if row.reason else None
        with self._database.writing():
            search.tell(row.number, TrialState(row.state), row.value, reason)

    def ended(self, study: StudyRow) -> None:
        """The study has ended: tell Optuna what it has not heard of yet, and keep nothing open."""
        if study.inspection is not None:
            self.reconcile(study.id, self.get(study))
        self.forget(study.id)

    def forget(self, study_id: int) -> None:
        with self._lock:
            self._open.pop(study_id, None)
            self._turns.pop(study_id, None)

    def close(self) -> None:
        close_storage(self._storage)
