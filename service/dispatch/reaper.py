"""What happens without a request: expired leases are taken back, budgets of time end, crashes are mended."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from luthier.service.dispatch.core import Core
from luthier.service.lifecycle import transitions as lifecycle
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import ENDED, AssignmentKind, TrialState

log = logging.getLogger("luthier")
AWAY_SECONDS = 5.0  # a round that comes so late was kept from coming


@dataclass(frozen=True)
class Reaper(Core):
    """Any number of services may reap one database: rows locked by one are skipped by the others."""

    def tick(self, take_back: bool = True) -> None:
        """One round. Cheap when nothing is due."""
        if take_back:
            self._take_back()
        self.searches.heartbeat()
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
            once = (AssignmentKind.INSPECT, AssignmentKind.EVALUATE)
            lost = select(AssignmentRow).where(
                AssignmentRow.study_id == study_id,
                AssignmentRow.kind.in_(once),
                AssignmentRow.state == TrialState.FAILED,
            )
            for row in session.scalars(lost):
                if study.state in ENDED:
                    break
                if row.kind == AssignmentKind.EVALUATE:
                    lifecycle.unmeasured(session, self.database, study, row.error or "")
                else:
                    lifecycle.fail(session, self.leases, study, row.error or "its inspection failed")
            lifecycle.settle(session, self.leases, study)
        if study.state in ENDED:
            self.searches.ended(study)
        elif study.inspection is not None and study.started_at is not None:  # before, there is nothing to tell
            self.searches.reconcile(study.id, self.searches.get(study))

    def ticks(self, grace_seconds: float) -> Callable[[], None]:
        """`tick`, which takes no lease back for `grace_seconds` after it was kept from looking: by a service or a
        database that was away, so that nobody could renew."""
        looked, grace_until = -math.inf, -math.inf

        def tick() -> None:
            nonlocal looked, grace_until
            now, before = time.monotonic(), looked
            if now - before > max(AWAY_SECONDS, grace_seconds / 2):
                grace_until = now + grace_seconds
            looked = now
            try:
                self.tick(take_back=now >= grace_until)
            except SQLAlchemyError:
                looked = before
                raise

        return tick
