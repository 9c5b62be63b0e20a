"""What happens without a request: expired leases are taken back, budgets of time end, crashes are mended."""

import logging
import threading
import time
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from service import lifecycle
from service.core import Core
from service.tables import AssignmentRow as A
from service.tables import StudyRow
from studies.protocol import ENDED, Kind, TrialState

log = logging.getLogger("luthier")


@dataclass(frozen=True)
class Reaper(Core):
    """Any number of services may reap one database: rows locked by one are skipped by the others."""

    def tick(self, take_back: bool = True) -> None:
        """One round. Cheap when nothing is due."""
        if take_back:
            self._take_back()
        self.searches.look_around()
        with self.database.transaction() as session:
            old = StudyRow.transient & (StudyRow.created_at < self.database.now() - 3600.0)
            session.execute(delete(StudyRow).where(old))
            unended = select(StudyRow.id).where(StudyRow.state.not_in(ENDED), ~StudyRow.transient)
            open_ids = list(session.scalars(unended))
        for study_id in open_ids:
            self._mend(study_id)

    def _take_back(self) -> None:
        with self.database.transaction() as session:
            for row in self.leases.expired(session):
                worker = row.worker
                state = self.leases.release(session, row, lost=True, error="its lease ran out", expired=True)
                log.warning("study %d: %s's lease on its %s ran out; now %s", row.study_id, worker, row.kind, state)

    def _mend(self, study_id: int) -> None:
        with self.database.transaction() as session:
            study = lifecycle.locked_by_id(session, study_id)
            if study is None:
                return
            lost = select(A).where(A.study_id == study_id, A.kind != Kind.TRAIN, A.state == TrialState.FAILED)
            for row in session.scalars(lost):
                if study.state in ENDED:
                    break
                if row.kind == Kind.EVALUATE:
                    lifecycle.unmeasured(session, self.database, study, row.error or "")
                else:
                    lifecycle.fail(session, self.leases, study, row.error or "its inspection failed")
            lifecycle.settle(session, self.leases, study)
        if study.state in ENDED:
            self.searches.ended(study)
        elif study.inspection is not None:
            self.searches.reconcile(study.id, self.searches.get(study))


class ReaperThread(threading.Thread):
    """Ticks every `seconds`, from `grace_seconds` after the start: workers of a service that was away renew first."""

    def __init__(self, reaper: Reaper, seconds: float, grace_seconds: float) -> None:
        super().__init__(name="luthier-reaper", daemon=True)
        self._reaper, self._seconds, self._grace_until = reaper, seconds, time.monotonic() + grace_seconds
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._reaper.tick(take_back=time.monotonic() >= self._grace_until)
            except SQLAlchemyError as error:
                log.warning("the reaper could not reach the database: %s", type(error).__name__)
            except Exception:
                log.exception("the reaper's tick failed; the next one tries again")

    def stop(self) -> None:
        self._stopped.set()
        self.join(timeout=10)
