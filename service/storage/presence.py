"""Presence of workers and services, judged by their latest message to the database.

Used by claims, placement, the plan, the list of workers and the reaper, so that all of them agree. Presence decides
nothing about leases: a worker that holds work is there until its lease runs out, however long it is silent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Double, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.storage.database import KEPT_NOW, Database, changed_rows
from luthier.service.storage.service_tables import HealthRow, ServiceRow, WorkerRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import Claim, TrialState

WAITING_SECONDS = 3.0
"""A worker whose latest claim is at most this old waits for work: after a claim that ended without work it claims again
at once."""
AHEAD_SECONDS = 15.0
"""For so long, at most, is a claim that waits stored ahead of its time, so that it is not stored every second."""
CONNECTED_SECONDS = 60.0
"""A worker whose latest claim is at most this old is present: a claim waits 60 s at most (`Claim.wait_seconds`)."""
LISTED_SECONDS = 86_400.0
"""A day: a worker that went away stays in lists for so long, so that its user can see when it did."""
MOST_WORKERS = 10_000
"""Rows of workers that are kept. More of them within a day are names that somebody made up."""
SERVICE_SECONDS = 15.0
"""A service that is silent for so long is gone: its reaper reports once a second, but may wait for a lock."""
PAUSE_SECONDS = 5.0
"""The shortest pause between two rounds of a reaper that counts as absence; a loaded machine delays a round by less."""


def is_quarantined() -> ColumnElement[bool]:
    """Return the condition of `WorkerRow` that the worker is in quarantine (`lifecycle/quarantine.py`)."""
    return WorkerRow.name.in_(select(HealthRow.worker).where(HealthRow.quarantined_at.is_not(None)))


def host_of(name: str, host: str | None) -> str:
    """Return the machine of a worker: what it says, else what its name says after the @, else its name alone."""
    return host or name.partition("@")[2] or name


DESCRIBED = ("device", "version", "gpu", "gpu_bytes", "host", "libraries")


def _described(claim: Claim) -> dict[str, Any]:
    """Return the columns of a worker, without its name, as a claim describes it."""
    return {
        "device": claim.device,
        "version": claim.version,
        "gpu": claim.gpu and claim.gpu.id,
        "gpu_bytes": claim.gpu and claim.gpu.total_bytes,
        "host": claim.host or None,
        "libraries": claim.libraries,
    }


@dataclass(frozen=True)
class Presence:
    """Rules for the presence of workers and services. Methods with a session run in the caller's transaction."""

    database: Database
    lease_seconds: float

    @property
    def away_seconds(self) -> float:
        """The silence in seconds after which a worker without work is away: one claim and one lease.

        The lease allows for a network failure. With the default lease this is 90 s. A worker that is away holds no
        memory of its GPU any more, and is listed as away.
        """
        return CONNECTED_SECONDS + self.lease_seconds

    @property
    def absence_seconds(self) -> float:
        """The gap in seconds between two rounds of a reaper that counts as an absence: half a lease, at least 5 s.

        Workers renew every third of a lease. After a longer gap a worker may have missed a renewal through no fault of
        its own.
        """
        return max(PAUSE_SECONDS, self.lease_seconds / 2)

    def record_claim(self, session: Session, claim: Claim) -> bool:
        """Store that a worker asks for work now, and how it describes itself; return whether it is in quarantine."""
        values = self._stored(claim, 0.0)
        return bool(session.connection().execute(self._recorded_one, values).scalar())

    def record_waiting(self, session: Session, waiting: Sequence[tuple[Claim, float]]) -> None:
        """Store, in one statement, that workers ask for work now and will go on asking for so many seconds.

        Until then they count as waiting; `record_claim` and `record_gone` end that earlier.
        """
        if not waiting:
            return
        in_order = sorted(waiting, key=lambda item: item[0].worker)  # no two lock in two orders
        session.connection().execute(self._recorded, [self._stored(claim, seconds) for claim, seconds in in_order])

    def _stored(self, claim: Claim, seconds: float) -> dict[str, Any]:
        """Return the parameters of `_recorded` for a worker that asks now, and will for so many seconds."""
        own = {"name": claim.worker, "seconds": seconds, "clock_offset": self.database.clock_offset}
        return _described(claim) | own

    @cached_property
    def _recorded(self) -> sqlite.Insert | postgresql.Insert:
        insert = self.database.insert(WorkerRow)
        columns: dict[str, Any] = {name: bindparam(name) for name in (*DESCRIBED, "name")}
        insert = insert.values(seen_at=KEPT_NOW + bindparam("seconds", type_=Double), **columns)
        changed = {name: insert.excluded[name] for name in (*DESCRIBED, "seen_at")}
        return insert.on_conflict_do_update(index_elements=["name"], set_=changed)

    @cached_property
    def _recorded_one(self) -> ReturningInsert[bool]:
        in_quarantine = select(HealthRow.worker).where(HealthRow.worker == WorkerRow.name)
        in_quarantine = in_quarantine.where(HealthRow.quarantined_at.is_not(None)).correlate(WorkerRow)
        return self._recorded.returning(in_quarantine.exists())

    def record_gone(self, session: Session, workers: Iterable[str]) -> None:
        """Store that workers do not wait for work any more; they stay in lists as they were."""
        names = list(workers)
        if names:
            waiting = self._is_recent(WorkerRow.seen_at, WAITING_SECONDS)
            gone = update(WorkerRow).where(WorkerRow.name.in_(names), waiting)
            changed_rows(session, gone.values(seen_at=self.database.now() - WAITING_SECONDS))

    def forget_workers(self, most: int = MOST_WORKERS) -> None:
        """Remove the rows of workers that are listed no more, and the oldest ones beyond so many.

        A worker that holds work is kept. One that claims again gets a new row. It opens a transaction of its own.
        """
        now = self.database.now()
        holders = select(AssignmentRow.worker).where(
            AssignmentRow.state == TrialState.RUNNING, AssignmentRow.worker.is_not(None)
        )
        is_free = WorkerRow.name.not_in(holders)
        newest = select(WorkerRow.name).order_by(WorkerRow.seen_at.desc(), WorkerRow.name).limit(most)
        with self.database.transaction() as session:
            for is_over in (WorkerRow.seen_at < now - LISTED_SECONDS, WorkerRow.name.not_in(newest)):
                gone = delete(WorkerRow).where(is_over, is_free)
                session.execute(gone, execution_options={"synchronize_session": False})

    def is_waiting(self) -> ColumnElement[bool]:
        """Return the condition of `WorkerRow` that the worker waits for work, and may get it."""
        return self._is_recent(WorkerRow.seen_at, WAITING_SECONDS) & ~is_quarantined()

    def has_just_finished(self) -> ColumnElement[bool]:
        """Return the condition of `AssignmentRow` that its worker has just ended it, and so will claim again soon."""
        return self._is_recent(AssignmentRow.finished_at, WAITING_SECONDS)

    def is_present(self) -> ColumnElement[bool]:
        """Return the condition of `WorkerRow` that a worker without work is not away."""
        return self._is_recent(WorkerRow.seen_at, self.away_seconds)

    def able(self, session: Session) -> list[WorkerRow]:
        """Return the workers that are connected or busy, and in no quarantine, by name."""
        able = select(WorkerRow).where(self.is_there(), ~is_quarantined())
        return list(session.scalars(able.order_by(WorkerRow.name)))

    def is_all_quarantined(self, session: Session) -> bool:
        """Return whether workers are connected, and each of them is in quarantine."""
        sick = session.scalar(select(HealthRow.worker).where(HealthRow.quarantined_at.is_not(None)).limit(1))
        if sick is None:
            return False
        there = select(WorkerRow.name).where(self.is_there())
        able = session.scalar(there.where(~is_quarantined()).limit(1))
        return able is None and session.scalar(there.limit(1)) is not None

    def is_there(self) -> ColumnElement[bool]:
        """Return the condition of `WorkerRow` that the worker is connected, or holds work under a lease."""
        busy = select(AssignmentRow.worker).where(
            AssignmentRow.state == TrialState.RUNNING, AssignmentRow.deadline > self.database.now()
        )
        return self.is_present() | WorkerRow.name.in_(busy)

    def any_worker(self, session: Session) -> bool:
        """Return whether a worker is connected: it asked for work lately, or holds work under a lease."""
        now = self.database.now()
        connected = select(WorkerRow.name).where(self._is_recent(WorkerRow.seen_at, CONNECTED_SECONDS))
        busy = select(AssignmentRow.worker).where(
            AssignmentRow.state == TrialState.RUNNING, AssignmentRow.deadline > now
        )
        busy = busy.join(StudyRow).where(~StudyRow.external)
        return session.scalar(connected.union_all(busy).limit(1)) is not None

    def report_service(self, session: Session, service_id: str) -> bool:
        """Store that a service is there, and forget the services that are gone; return whether it is the only one."""
        now = self.database.now()
        present = self.database.insert(ServiceRow).values(id=service_id, seen_at=now)
        session.execute(present.on_conflict_do_update(index_elements=["id"], set_={"seen_at": now}))
        session.execute(delete(ServiceRow).where(ServiceRow.seen_at < now - SERVICE_SECONDS))
        return session.scalar(select(ServiceRow.id).where(ServiceRow.id != service_id).limit(1)) is None

    def keep_services(self, session: Session) -> None:
        """Count each service that is known as there right now, after a jump of the clock: none was silent by it."""
        session.execute(update(ServiceRow).values(seen_at=self.database.now()))

    def _is_recent(self, column: InstrumentedAttribute[Any], seconds: float) -> ColumnElement[bool]:
        """Return whether an instant is at most so many seconds ago, or as far ahead as one may be stored.

        One that is further ahead was stored before the clock went back.
        """
        now = self.database.now()
        return (column > now - seconds) & (column < now + max(seconds, 2 * AHEAD_SECONDS))

    def remove_service(self, session: Session, service_id: str) -> None:
        """Forget a service that ends."""
        session.execute(delete(ServiceRow).where(ServiceRow.id == service_id))
