"""The open searches of this process, a `Search` for each study: opened in threads, dropped once outdated.

`search_pool.py` adds what keeps Optuna up to date with our rows.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from luthier.service.dispatch import search_repair
from luthier.service.dispatch.search_faults import SearchFaults
from luthier.service.dispatch.search_openings import PATIENCE_SECONDS, Opening
from luthier.service.storage.connections import Connections
from luthier.service.storage.database import Database
from luthier.service.storage.presence import Presence
from luthier.service.storage.service_tables import ServiceRow
from luthier.service.storage.tables import StudyRow
from luthier.service.storage.turns import Turns
from luthier.studies.first_trials import known_good
from luthier.studies.search.search import Search, delete_search
from luthier.studies.search.storage import engine_of, open_storage, remove_orphans, unfinished_studies, with_own_cache
from luthier.studies.space import Space
from luthier.studies.trial_costs import Costs, costs_before, weighs_seconds


def resolved_space(study: StudyRow) -> Space:
    """Return the study's space with the numbers of its inspection in place of `auto`.

    Raises:
        LookupError: the study has not been inspected.
        ValidationError: the space does not fit the model.
    """
    if study.inspection is None:
        raise LookupError(f"{study.name} has not been inspected yet")
    return study.spec.resolved_space(study.inspection)


def _costs(study: StudyRow) -> Costs | None:
    """Return what is known of the seconds of a study's trials before any has ended; None where no draw asks."""
    if study.inspection is None or not weighs_seconds(study.spec):
        return None
    return costs_before(study.spec, resolved_space(study), study.inspection)


class OpenSearches:
    """The searches of one service. Threads share it; its own locks are held for moments only, except `exclusive`.

    Attributes:
        faults: what went wrong in searches.
    """

    def __init__(self, database: Database, presence: Presence) -> None:
        """Open Optuna's storage in the service's database."""
        self.faults = SearchFaults(database)
        self._database = database
        self._presence = presence
        self._storage = open_storage(database.url)
        self._connections = Connections(engine_of(self._storage))
        self._service_id = secrets.token_hex(16)
        self._seen_at: float | None = None  # of this service's own row
        self._alone = False  # until a heartbeat finds no other service
        self._doubted = False  # the database was away: what is in memory may not be there any more
        self._open: dict[int, Search] = {}
        self._opening: dict[int, Opening] = {}
        self._damaged: set[int] = set()  # studies whose trials have wrong numbers in Optuna
        self._exclusive: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()  # over these collections
        if not database.sqlite:
            for engine in (database.engine, engine_of(self._storage)):
                event.listen(engine, "handle_error", self._doubt)

    @contextmanager
    def exclusive(self, study_id: int, wait_seconds: float = -1) -> Iterator[bool]:
        """Let one thread of this process at a time ask on behalf of a study; others wait here.

        Enter it outside of any transaction: it is held while Optuna draws. Other services are kept out by the turn in
        the study's row.

        Args:
            study_id: the study.
            wait_seconds: how long to wait; -1: without end. False is given where that was not enough.
        """
        with self._lock:
            lock = self._exclusive.setdefault(study_id, threading.Lock())
        entered = lock.acquire(timeout=wait_seconds)
        try:
            yield entered
        finally:
            if entered:
                lock.release()

    def get(self, study: StudyRow, patience: float = PATIENCE_SECONDS, has_turn: bool = False) -> Search:
        """Return the study's search, opened if it was not open. The study must be inspected.

        Where other services write to the same database, the search first reads their changes. Call it outside of
        any transaction.

        Args:
            study: its row.
            patience: seconds from the start of an opening that it may take.
            has_turn: the caller has the study's turn; it does not wait for an opening that needs it.

        Raises:
            SearchOpening: it is not open yet.
        """
        with self._lock:
            search = self._open.get(study.id)
            opening = self._opening.get(study.id)
            if search is None and opening is None:
                opening = self._opening[study.id] = self._make_opening(study)
                opening.start()
        if search is None:
            assert opening is not None
            return opening.wait(patience, has_turn)
        if not self._alone:
            search.refresh()
        return search

    def _make_opening(self, study: StudyRow) -> Opening:
        def make(opening: Opening) -> Search:
            search = self._read(study)
            if self._lacks_trials(study, search):
                opening.need_turn()
                search = self._restored(study)
            search_repair.tell_ends(self._database, study.id, search)
            return search

        def done(opening: Opening) -> None:
            with self._lock:
                if self._opening.get(study.id) is opening:
                    del self._opening[study.id]
                    if opening.search is not None:
                        self._open[study.id] = opening.search

        return Opening(study.name, make, done)

    def _read(self, study: StudyRow) -> Search:
        search = Search(
            with_own_cache(self._storage),
            study.spec,
            resolved_space(study),
            self._database.writing,
            lambda: search_repair.forgotten(self._database, study.id),
            study.search_name,
            [] if study.inspection is None else known_good(study.spec, study.inspection, study.first_budget),
            _costs(study),
            lambda: search_repair.paused(self._database, study.id, search),
        )
        search.count()
        return search

    def _lacks_trials(self, study: StudyRow, search: Search) -> bool:
        return study.id in self._damaged or search_repair.lacks_trials(self._database, study.id, search)

    def _restored(self, study: StudyRow) -> Search:
        """Return a study's search with all trials of ours, under the study's turn: nobody else asks meanwhile.

        Raises:
            Unavailable: another request keeps the turn, or took it from here.
        """
        turns = Turns.to_ask(self._database)
        with turns.waited_for(study.id) as token:
            search = self._read(study)  # another service may have restored it meanwhile
            if self._lacks_trials(study, search):
                self._remove_orphans()
                is_damaged = study.id in self._damaged
                search_repair.restore(self._database, study.id, search, lambda: turns.keep(study.id, token), is_damaged)
                self._damaged.discard(study.id)
        return search

    def unfinished(self) -> set[str]:
        """Return the names of the studies that have trials of which Optuna knows no end: those that run, above all."""
        return unfinished_studies(self._storage)

    def _remove_orphans(self) -> None:
        with self._database.writing():
            remove_orphans(self._storage)

    def heartbeat(self) -> None:
        """Report that this service is there, and see whether it is the only one. The reaper calls it every second.

        Where the database was away, or went back to an earlier state, all searches are opened anew.
        """
        own = select(ServiceRow.seen_at).where(ServiceRow.id == self._service_id)
        try:
            with self._database.transaction() as session:
                before = session.scalar(own)
                alone = self._presence.report_service(session, self._service_id)
                seen_at = session.scalar(own)
        except SQLAlchemyError:
            self._doubted = True
            raise
        if self._doubted or before != self._seen_at:
            self._doubted = False
            with self._lock:
                self._open.clear()
                self._opening.clear()
            self.faults.wake()
        elif alone and not self._alone:
            with self._lock:
                searches = list(self._open.values())
            for search in searches:  # outside of the transaction: one that is being read waits for it
                search.refresh()  # the last time: the writes of the others before they went
        self._seen_at = seen_at
        self._alone = alone

    def _doubt(self, context: Any) -> None:
        if context.is_disconnect or isinstance(context.sqlalchemy_exception, OperationalError):
            self._doubted = True

    def close(self, wait_seconds: float = 0.0) -> None:
        """Remove this service's row, and close Optuna's storage, as `Database.dispose` does.

        If the database is down the row stays; it expires after `presence.SERVICE_SECONDS`.
        """
        with suppress(SQLAlchemyError), self._database.transaction() as session:
            self._presence.remove_service(session, self._service_id)
        self._connections.close(wait_seconds)

    def forget_trial(self, study_id: int, number: int) -> None:
        """Let a study's search, if it is open, pass over a trial that a user has just deleted."""
        with self._lock:
            search = self._open.get(study_id)
        if search is not None:
            search.forget(number)

    def delete(self, study: StudyRow) -> None:
        """Delete what Optuna has of a study."""
        delete_search(self._storage, study.search_name, self._database.writing)
        self.forget(study.id)

    def forget(self, study_id: int) -> None:
        """Close a study's search, if it is open."""
        self._drop(study_id)
        self.faults.forget(study_id)
        with self._lock:
            self._exclusive.pop(study_id, None)
            self._damaged.discard(study_id)

    def _drop(self, study_id: int) -> None:
        with self._lock:
            self._open.pop(study_id, None)
            self._opening.pop(study_id, None)
