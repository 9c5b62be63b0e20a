"""Quarantine: a worker that fails at one thing after another gets no work, until a probe goes well.

`second_tries.py` says here what a worker failed at and did well, `speeds.py` who is far slower than its like. The rows
of health are locked last, after those of studies and assignments, in the order of their names. Only this module writes
them.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from luthier.service.caller import Scope, current
from luthier.service.errors import Conflict, NotFound
from luthier.service.storage.database import Database, changed_rows
from luthier.service.storage.health import Record
from luthier.service.storage.presence import Presence
from luthier.service.storage.service_tables import HealthRow, WorkerRow
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import TrialState
from luthier.studies.text import one_line

log = logging.getLogger("luthier")
FAILURES = 3  # pieces of work in a row that a worker failed at
STUDIES = 2  # that they must be of, unless other workers did all of them well
FIRST_PAUSE = 60.0  # seconds until a worker in quarantine gets a probe; each time that it fails doubles them
LONGEST_PAUSE = 3600.0  # seconds
MEMORY_SECONDS = 86_400.0  # a worker that is back in quarantine within a day begins with twice its last pause
FORGOTTEN_SECONDS = 7 * 86_400.0  # since a worker's row last changed
OF_STUDIES = ", at work of "  # what follows it in a reason is for admins
TEXT_CHARACTERS = 200  # of an error, in a reason


@dataclass(frozen=True)
class Standing:
    """What a worker in quarantine may do now.

    Attributes:
        is_due: it may get one piece of work, as a probe.
        probe: the id of the latest one, for `begin_probe`.
    """

    is_due: bool
    probe: int | None


def standing(session: Session, presence: Presence, worker: str) -> Standing | None:
    """Return what a worker in quarantine may do now; None for a worker that is in none."""
    in_quarantine = (HealthRow.worker == worker, HealthRow.quarantined_at.is_not(None))
    found = session.execute(select(HealthRow, presence.database.now()).where(*in_quarantine)).first()
    if found is None:
        return None
    health, now = found
    if health.probe is not None:
        held = (AssignmentRow.id == health.probe, AssignmentRow.worker == worker)
        running = select(AssignmentRow.id).where(*held, AssignmentRow.state == TrialState.RUNNING)
        if session.scalar(running) is not None:
            return Standing(False, health.probe)
    waits = 0 < (health.until or 0.0) - now <= LONGEST_PAUSE  # further ahead: the clock went back
    if waits and health.is_slow and not presence.able(session):
        waits = False  # a slow worker is better than none
    return Standing(not waits, health.probe)


def begin_probe(session: Session, worker: str, before: Standing, assignment_id: int) -> bool:
    """Note that a piece of work is a worker's probe; return False when another claim of its name was faster."""
    same = HealthRow.probe.is_(None) if before.probe is None else HealthRow.probe == before.probe
    guard = update(HealthRow).where(HealthRow.worker == worker, HealthRow.quarantined_at.is_not(None), same)
    return changed_rows(session, guard.values(probe=assignment_id)) == 1


def lock(session: Session, workers: Iterable[str]) -> dict[str, HealthRow]:
    """Return the rows of those of the workers that have one, by name, locked."""
    rows = select(HealthRow).where(HealthRow.worker.in_(set(workers)))
    rows = rows.order_by(HealthRow.worker).with_for_update()
    return {row.worker: row for row in session.scalars(rows, execution_options={"populate_existing": True})}


def lock_all(session: Session, database: Database, workers: Iterable[str]) -> dict[str, HealthRow]:
    """Return the rows of workers, by name, locked; those that have none get one, in the order of their names."""
    names = sorted(set(workers))
    rows: dict[str, HealthRow] = {}
    while len(rows) < len(names):  # again, where one was just released
        insert = database.insert(HealthRow).on_conflict_do_nothing()
        for name in names:
            values = {"worker": name, "is_slow": False, "pause_seconds": 0.0, "changed_at": database.now()}
            session.execute(insert.values(values))
        rows = lock(session, names)
    return rows


def forget_old(session: Session, database: Database) -> None:
    """Forget the health of workers of which nothing was heard for long: they are gone, or have long been well."""
    session.execute(delete(HealthRow).where(HealthRow.changed_at < database.now() - FORGOTTEN_SECONDS))


def record_of(health: HealthRow | None) -> Record:
    """Return what a worker failed at; an empty record where there is none, or it cannot be read."""
    return health.record if health is not None and isinstance(health.record, Record) else Record()


def why(record: Record) -> str | None:
    """Return why a worker with this record belongs in quarantine, the commonest error first; None where it does not."""
    counted = record.counted
    certain = sum(failure.is_certain for failure in counted)
    studies = list(dict.fromkeys(failure.name for failure in counted))
    if len(counted) < FAILURES or (len({f.study for f in counted}) < STUDIES and certain < FAILURES):
        return None
    texts = Counter(one_line(failure.text, TEXT_CHARACTERS).rstrip(".") for failure in counted).most_common(3)
    told = "; ".join(f"{count} with: {text}" for text, count in texts)
    of = f"{len(studies)} studies ({', '.join(studies[:3])}{', ...' if len(studies) > 3 else ''})"
    if len(studies) == 1:
        of = f"the study {studies[0]}, which other workers did well"
    return f"It failed {len(counted)} times in a row{OF_STUDIES}{of}: {told}."


def shown_reason(health: HealthRow) -> str:
    """Return why a worker is in quarantine; studies and their errors may be another project's: admins see them."""
    reason = health.reason or ""
    return reason if Scope.ADMIN in current().scopes else f"{reason.partition(OF_STUDIES)[0].rstrip('.')}."


def judge(health: HealthRow, record: Record, now: float, is_probe: bool = False) -> None:
    """Store a locked worker's record, and put the worker into quarantine, keep it there, or let it go, by its record.

    Args:
        health: its row.
        record: what it has failed at.
        now: the database's time.
        is_probe: it has just failed at a probe.
    """
    health.record = record
    reason = why(record)
    if health.quarantined_at is None:
        if reason is not None:
            put(health, reason, now)
    elif is_probe:
        health.pause_seconds = min(2 * health.pause_seconds, LONGEST_PAUSE)
        health.until = now + health.pause_seconds
        health.reason = health.reason if health.is_slow or reason is None else reason
        health.changed_at = now
        log.warning("worker %s failed its probe; the next is in %g s", health.worker, health.pause_seconds)
    elif not health.is_slow and reason is None:  # others failed at the same work
        end(health, now)


def put(health: HealthRow, reason: str, now: float, is_slow: bool = False) -> None:
    """Put a locked worker into quarantine."""
    is_recent = 0 <= now - health.changed_at < MEMORY_SECONDS and health.pause_seconds > 0
    health.pause_seconds = min(2 * health.pause_seconds, LONGEST_PAUSE) if is_recent else FIRST_PAUSE
    health.quarantined_at, health.until, health.probe = now, now + health.pause_seconds, None
    health.reason, health.is_slow, health.changed_at = reason, is_slow, now
    log.warning("worker %s is in quarantine, for %g s at first: %s", health.worker, health.pause_seconds, reason)


def end(health: HealthRow, now: float) -> None:
    """Let a locked worker out of quarantine; its last pause is remembered for a while."""
    log.warning("worker %s is out of quarantine", health.worker)
    health.quarantined_at = health.until = health.probe = None
    health.record, health.changed_at = Record(), now


def note_success(health: HealthRow, now: float, is_probe: bool) -> None:
    """Note that a locked worker did a piece of work well: nothing counts against it any more.

    A slow worker stays in quarantine until its probe is done, as it may have had other work when it came there.
    """
    if health.quarantined_at is not None:
        if is_probe or not health.is_slow:
            end(health, now)
    elif record_of(health).failures:
        health.record = Record()


def release(session: Session, worker: str) -> None:
    """End a worker's quarantine at a user's wish, and forget all that it failed at.

    Raises:
        NotFound: no worker of this name has been seen.
        Conflict: it is in no quarantine.
    """
    if session.get(WorkerRow, worker) is None:
        raise NotFound(f"There is no worker {worker[:128]}; `luthier fleet` lists them.")
    health = lock(session, [worker]).get(worker)
    if health is None or health.quarantined_at is None:
        raise Conflict(f"The worker {worker} is in no quarantine; there is nothing to release.")
    session.execute(delete(HealthRow).where(HealthRow.worker == worker))
    log.warning("worker %s was released from quarantine by hand", worker)


@dataclass(frozen=True)
class AllQuarantined:
    """That no connected worker gets work.

    Attributes:
        message: a sentence for users, with the cure.
        seconds: until the first of them gets a probe; 0: it is due.
    """

    message: str
    seconds: float


def quarantined_all(session: Session, presence: Presence) -> AllQuarantined | None:
    """Return why nothing goes on, where all workers that are connected are in quarantine; else None."""
    if not presence.is_all_quarantined(session):
        return None
    rows = select(HealthRow).join(WorkerRow, WorkerRow.name == HealthRow.worker).where(presence.is_there())
    rows = rows.where(HealthRow.quarantined_at.is_not(None)).order_by(HealthRow.until)
    sick = session.scalars(rows).all()
    if not sick:  # one was released meanwhile
        return None
    now = presence.database.time(session)
    first = sick[0]
    seconds = min(max((first.until or now) - now, 0.0), LONGEST_PAUSE)
    subject = "The only worker is" if len(sick) == 1 else f"All {len(sick)} workers are"
    when = "is due" if seconds < 1 else f"comes in {seconds:.0f} s"
    message = (
        f"{subject} in quarantine, so nothing goes on but a probe now and then; the next {when}. Worker "
        f"{first.worker}: {shown_reason(first)} Mend it, then `luthier fleet release {first.worker}`."
    )
    return AllQuarantined(message, seconds)
