"""Second tries: work that failed at one worker is tried at another before the failure counts, where there is another.

Only then it is known whose fault it was. Where the other one does the work well, the failure counts against the first
worker (`quarantine.py`), and nothing against the work; where both fail, it is the work's own. Each assignment is tried
again once; a worker that is alone gets no second opinion, and the failure counts at once. Dispatch calls it, with the
study's row and the assignment's locked.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.lifecycle import absences, quarantine
from luthier.service.storage.health import Doubt, Failure, Record
from luthier.service.storage.presence import Presence, host_of
from luthier.service.storage.service_tables import HealthRow, WorkerRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import TRAINING, USES, AssignmentKind, Outcome, Reason, TrialState

DOUBTED = frozenset({None, Reason.ERROR, Reason.OOM, Reason.BAD_DATA})  # reasons that may be a worker's, and fail soon
COSTLY = frozenset({Reason.TIMEOUT})  # tried again only where the worker failed at other studies too
WEAK = frozenset({AssignmentKind.INSPECT, *USES})  # a user's spec or model is as likely at fault
PROBES = frozenset({AssignmentKind.INSPECT, *TRAINING})  # what a probe may be, while other workers do the rest
PATIENCE_SECONDS = 600.0  # that work waits for a worker other than the one that failed; then any may have it
NO_REASON = "it gave no reason"


def judged(session: Session, presence: Presence, study: StudyRow, row: AssignmentRow, outcome: Outcome) -> Outcome:
    """Note how a worker did, and return the outcome that its work has now: as it was, or given to another worker.

    Args:
        session: the caller's transaction.
        presence: who else is there.
        study: the study's locked row.
        row: the assignment's locked row, still held by the worker.
        outcome: what the worker said.
    """
    if study.external or row.worker is None or outcome.status == "released":
        return outcome
    if outcome.status in ("complete", "pruned", "paused"):
        is_well = outcome.reason is not Reason.DIVERGED and not (row.kind in TRAINING and row.value is None)
        if is_well:
            _note_success(session, presence, row)
        return outcome
    if outcome.status == "failed" and not _may_be_workers(row, outcome.reason):
        return outcome
    text = NO_REASON if outcome.problem is None else outcome.problem.message
    if not _goes_elsewhere(session, presence, study, row, text, outcome):
        return outcome
    problem = outcome.problem
    said = f"{row.worker} failed at it ({text.rstrip('.')}); another worker tries it before that counts.\n"
    return Outcome(
        id=outcome.id,
        token=outcome.token,
        log=outcome.log + said,
        status="released",
        problem=problem,
    )  # without seconds: no budget pays for it; without a micro-batch: it may be this worker's only


def is_loss(session: Session, presence: Presence, study: StudyRow, row: AssignmentRow) -> bool:
    """Note that a worker's lease ran out, and return whether that counts as a loss of its locked assignment."""
    if study.external or row.worker is None:
        return True
    lost = Outcome(id=row.id, token=row.token or "", status="lost")
    return not _goes_elsewhere(session, presence, study, row, "its lease ran out", lost, has_vanished=True)


def _may_be_workers(row: AssignmentRow, reason: Reason | None) -> bool:
    if reason is Reason.BAD_DATA and row.kind not in TRAINING:
        return False  # of a spec, or of a user's table
    return reason in DOUBTED or reason in COSTLY


def _note_success(session: Session, presence: Presence, row: AssignmentRow) -> None:
    """Let nothing count against a worker that did well any more, and this work against the one that had failed."""
    names = {row.worker or ""} | ({row.doubt.worker} if isinstance(row.doubt, Doubt) else set())
    if session.scalar(select(HealthRow.worker).where(HealthRow.worker.in_(names)).limit(1)) is None:
        return
    now = presence.database.time(session)
    for name, health in quarantine.lock(session, names).items():
        if name == row.worker:
            quarantine.note_success(health, now, health.probe == row.id)
        else:
            quarantine.judge(health, quarantine.record_of(health).with_certain(row.id), now)


def _goes_elsewhere(
    session: Session,
    presence: Presence,
    study: StudyRow,
    row: AssignmentRow,
    text: str,
    outcome: Outcome,
    has_vanished: bool = False,
) -> bool:
    """Note a failure that may be the worker's, and return whether another worker tries the work at no cost."""
    worker, before = row.worker or "", row.doubt if isinstance(row.doubt, Doubt) else None
    names = {worker} | ({before.worker} if before is not None and outcome.status == "failed" else set())
    rows = quarantine.lock_all(session, presence.database, names)
    health, now = rows[worker], presence.database.time(session)
    record, is_probe = quarantine.record_of(health), health.probe == row.id
    if before is not None and before.worker != worker and outcome.status == "failed":
        first = rows[before.worker]  # both failed at it: it is the work's fault, and nobody else's
        quarantine.judge(first, quarantine.record_of(first).without(row.id), now)
        quarantine.judge(health, record, now, is_probe)
        return False
    is_doubtful = _is_doubtful(health, record, study)
    quarantine.judge(health, record.with_failure(_failure(session, study, row, text, outcome, now)), now, is_probe)
    is_alone = not _others(presence.able(session), study, worker)
    if is_alone or (before is not None and before.is_free):
        return False
    is_free = is_doubtful  # else a lost process counts as a loss, as ever: there are several before work fails
    if outcome.status == "failed" and outcome.reason in DOUBTED:
        is_free = True
    if is_free or not has_vanished:  # whoever vanished for a moment may go on with its work
        host = session.scalar(select(WorkerRow.host).where(WorkerRow.name == worker))
        doubt = Doubt(worker=worker, host=host_of(worker, host), since=now, text=text, is_free=is_free)
        row.doubt = doubt if is_free or outcome.status == "lost" else None
    return is_free


def _is_doubtful(health: HealthRow, record: Record, study: StudyRow) -> bool:
    """Return whether a worker has failed at work of another study too since it last did well."""
    others = any(failure.study != study.id for failure in record.counted)
    return others or (health.quarantined_at is not None and not health.is_slow)


def _failure(session: Session, study: StudyRow, row: AssignmentRow, text: str, outcome: Outcome, now: float) -> Failure:
    said_failed = outcome.status == "failed"
    is_weak = said_failed and (row.kind in WEAK or outcome.reason is Reason.BAD_DATA)
    if said_failed and outcome.reason in COSTLY and not _is_done_in_time(session, study):
        is_weak = True  # the study's limit may be too short for any worker
    return Failure(assignment=row.id, study=study.id, name=study.name, text=text, at=now, is_weak=is_weak)


def _is_done_in_time(session: Session, study: StudyRow) -> bool:
    """Return whether a trial of a study ended well, and not for its time."""
    done = select(AssignmentRow.id).where(
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind.in_(TRAINING),
        AssignmentRow.state == TrialState.COMPLETE,
        AssignmentRow.reason.is_(None) | (AssignmentRow.reason != Reason.TIMEOUT),
    )
    return session.scalar(done.limit(1)) is not None


def _others(able: Iterable[WorkerRow], study: StudyRow, worker: str) -> list[WorkerRow]:
    """Return the workers other than this one that may have a study's work."""
    away = absences.found(study)
    resting = {} if away is None else away.rests
    return [other for other in able if other.name != worker and other.name not in resting]


def left_to_others(
    session: Session,
    presence: Presence,
    rows: Sequence[AssignmentRow],
    worker: str,
    host: str,
    is_probe: bool,
) -> set[int]:
    """Return the ids of those of the queued assignments that a worker must leave to others.

    Args:
        session: the claim's transaction.
        presence: who else is there.
        rows: the queued assignments.
        worker: who claims.
        host: its machine.
        is_probe: it is in quarantine, and may get one as a probe.
    """
    if not is_probe and all(row.doubt is None for row in rows):
        return set()
    now, able = presence.database.time(session), presence.able(session)
    left = set()
    for row in rows:
        if is_probe and able and row.kind not in PROBES:
            left.add(row.id)
        elif isinstance(row.doubt, Doubt) and (is_probe or 0 <= now - row.doubt.since < PATIENCE_SECONDS):
            others = _others(able, session.get_one(StudyRow, row.study_id), row.doubt.worker)
            best = max((_fitness(row.doubt, w.name, host_of(w.name, w.host)) for w in others), default=0)
            if _fitness(row.doubt, worker, host) < best or (is_probe and best):
                left.add(row.id)
    return left


def doubted(session: Session, study_id: int) -> Sequence[AssignmentRow]:
    """Return the queued trials of a study that failed at a worker."""
    queued = select(AssignmentRow).where(
        AssignmentRow.study_id == study_id,
        AssignmentRow.kind == AssignmentKind.TRAIN,
        AssignmentRow.state == TrialState.QUEUED,
        AssignmentRow.doubt.is_not(None),
    )
    return session.scalars(queued).all()


def _fitness(doubt: Doubt, worker: str, host: str) -> int:
    """Return how much a worker's try would tell: 2 on another machine, 1 beside the one that failed, 0 for itself."""
    if worker == doubt.worker:
        return 0
    return 2 if host != doubt.host else 1
