"""The reaper: takes expired leases back, ends studies whose time is up, and repairs after crashes.

A thread of each service calls it about once a second, two others its rarer looks. Any number of services may reap one
database: rows that one has locked are skipped by the others. Each step opens transactions of its own.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from luthier.service.dispatch.checkpoints import clean_up
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.search_faults import Doing
from luthier.service.lifecycle import second_tries, speeds, study_rows, transitions
from luthier.service.storage.clock_watch import ClockWatch
from luthier.service.storage.database import is_passing
from luthier.service.storage.tables import AssignmentRow, StudyRow, named_in_search
from luthier.studies.protocol import ENDED, AssignmentKind, TrialState

log = logging.getLogger("luthier")
JUMPS_PER_LEASE = 6  # a jump of a sixth of a lease counts: workers renew every third
MOST_UNRECEIVED = 30  # attempts after which a lease that nobody received is a loss too: no worker can read the message
PLAN_SECONDS = 3600.0  # an older plan was left behind by a service that died; a plan waits 10 minutes at most


@dataclass(frozen=True)
class Reaper:
    """Periodic work that no request triggers: expired leases, time limits, repairs after crashes."""

    core: Core

    def tick(
        self,
        take_back: bool = True,
        now: float | None = None,
        remove_plans: bool = True,
        since: float = 0.0,
    ) -> None:
        """Do one round, which costs little when nothing is due.

        Args:
            take_back: take expired leases back; False: leave them to a later round.
            now: the instant to judge leases by, in seconds since the epoch by the database's clock; None: now.
            remove_plans: remove the plans that services left behind; False: leave them to a later round.
            since: since when this service looks after leases, by the database's clock.
        """
        self._move_leases(take_back, now, since)
        self.core.searches.heartbeat()
        database = self.core.database
        with database.transaction() as session:
            is_leftover = StudyRow.transient & (StudyRow.created_at < database.now() - PLAN_SECONDS)
            if remove_plans:
                session.execute(delete(StudyRow).where(is_leftover))
            unended = select(StudyRow.id).where(StudyRow.state.not_in(ENDED), ~StudyRow.transient)
            study_ids = list(session.scalars(unended))
        for study_id in study_ids:
            try:
                self._mend(study_id)
                self.core.searches.faults.heal(study_id, Doing.SETTLE)
            except Exception as error:  # of one study: the others are settled all the same
                if is_passing(error):
                    raise
                self.core.searches.faults.note(study_id, f"{study_id}", Doing.SETTLE, error)

    def look_at_workers(self) -> None:
        """Put workers that are far slower than their like into quarantine, where there is one."""
        if self.core.judges_workers:
            with self.core.database.transaction() as session:
                speeds.look(session, self.core.presence)

    def guarded_tick(self, monotonic: Callable[[], float] = time.monotonic) -> Callable[[], None]:
        """Return a `tick` for a thread, which takes no lease back after a pause in which workers could not renew.

        After a gap of more than `Presence.absence_seconds` between two rounds, as before the first round, expired
        leases are left alone for one lease, so that workers that waited for the service or for the database can renew
        first. So they are after a jump of the database's clock, which is no time that passed, and while a disk of the
        service is full, whose workers cannot write or renew.

        Args:
            monotonic: this process's clock, in seconds.
        """
        last_round = -math.inf  # by this process's monotonic clock, in seconds
        grace_until = -math.inf
        plans_kept_until = -math.inf
        since: float | None = None  # by the database's clock
        clock = ClockWatch(self.core.database, self.core.leases.lease_seconds / JUMPS_PER_LEASE, monotonic)

        def tick() -> None:
            nonlocal last_round, grace_until, plans_kept_until, since
            now = monotonic()
            before = last_round
            last_round = now
            try:
                instant, jump = clock.look()
                full = self.core.room.problem() is not None
                if full or jump or now - before > self.core.presence.absence_seconds:
                    grace_until = now + self.core.leases.lease_seconds
                    plans_kept_until = now + PLAN_SECONDS
                if jump:
                    with self.core.database.transaction() as session:
                        self.core.presence.keep_services(session)
                since = instant if since is None or jump else since
                self.tick(now >= grace_until, instant, now >= plans_kept_until, since)
            except SQLAlchemyError:
                last_round = before  # the database is away: this was no round
                raise

        return tick

    def _move_leases(self, take_back: bool, now: float | None, since: float) -> None:
        """Cap the deadlines of leases; with `take_back` queue the assignments again whose leases ran out, or fail them.

        An assignment whose worker never sent a message may not have reached it: that costs no loss.
        """
        leases = self.core.leases
        with self.core.database.transaction() as session:
            leases.cap_deadlines(session)
            expired = leases.lock_expired(session, now) if take_back else []
            for row in sorted(expired, key=lambda row: row.worker or ""):  # the order in which health is locked
                worker, received = row.worker, row.received or row.attempt > MOST_UNRECEIVED
                is_loss = received and self._is_loss(session, row, since)
                state = leases.release(session, row, lost=is_loss, error="its lease ran out", expired=True)
                how = "ran out" if received else "ran out, and nobody received it"
                log.warning("study %d: %s's lease on its %s %s; now %s", row.study_id, worker, row.kind, how, state)

    def _is_loss(self, session: Session, row: AssignmentRow, since: float) -> bool:
        """Return whether an expired lease is a loss of its assignment; who was granted it before `since` is not blamed.

        The workers of a service end with it, through no fault of their own.
        """
        if not self.core.judges_workers or (row.granted_at or 0.0) < since:
            return True
        study = session.get_one(StudyRow, row.study_id)
        return second_tries.is_loss(session, self.core.presence, study, row)

    def _mend(self, study_id: int) -> None:
        """Settle a study, fail it where its inspection or evaluation failed, and tell Optuna of missed ends."""
        core = self.core
        with core.database.transaction() as session:
            study = study_rows.lock_by_id(session, study_id)
            if study is None or not study.is_readable:
                return
            failed = select(AssignmentRow).where(
                AssignmentRow.study_id == study_id,
                AssignmentRow.kind.in_((AssignmentKind.INSPECT, AssignmentKind.EVALUATE)),
                AssignmentRow.state == TrialState.FAILED,
            )
            for row in session.scalars(failed):
                if study.state in ENDED:
                    break
                if row.kind == AssignmentKind.EVALUATE and study.winner is None:  # its weights are trained again
                    continue
                if row.kind == AssignmentKind.EVALUATE:
                    transitions.fail_unmeasured(session, core.database, study, row.error or "")
                else:
                    transitions.fail(session, core.leases, study, row.error or "its inspection failed")
            transitions.settle(session, core.leases, study)
        if study.state in ENDED:
            core.searches.close_study(study)
        elif study.inspection is not None and study.started_at is not None:  # before, there is nothing to tell
            core.searches.mend(study)

    def mend_ended(self) -> None:
        """Do what follows the end of a study where the service that ended it died before it did.

        Such a study has trials that, for Optuna, have no end. Nobody asks about it any more, so nothing else finds it.
        """
        named = [named_in_search(name) for name in self.core.searches.unfinished()]
        if not named:
            return
        with self.core.database.reading() as session:
            is_left = (
                tuple_(StudyRow.project, StudyRow.name).in_(named) & StudyRow.state.in_(ENDED) & ~StudyRow.transient
            )
            studies = session.scalars(select(StudyRow).where(is_left)).all()
        for study in studies:
            clean_up(self.core, study)
