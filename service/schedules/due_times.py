"""Due times of schedules: each becomes exactly one row, a run or the reason why nothing ran.

The scheduler fires them, `api/schedules.py` triggers runs by hand. A schedule's row is locked while its due times are
processed, and (schedule, due time) is unique, so any number of services may fire them at the same time, and after any
absence. `studies/schedule_runs.py` decides whether a due time fires. Locks in this order: schedule, then study.
"""

import logging
from itertools import islice, takewhile

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from luthier.service.caller import acting, service_in
from luthier.service.dispatch.core import Core
from luthier.service.errors import Conflict
from luthier.service.lifecycle import actions, study_rows, succession, transitions
from luthier.service.storage.schedule_tables import RunRow, ScheduleRow
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import ENDED
from luthier.studies.schedule_runs import Due, RunState, decide

log = logging.getLogger("luthier")
SKIPPED_KEPT = 10_000  # rows of due times that did not run
BATCH = 500  # due times dealt with in one transaction, after a long absence


def fire(core: Core, now: float | None = None) -> list[StudyRow]:
    """Turn every due time that has come into a row, in transactions of its own; an error stops only its own schedule.

    Args:
        core: The service's database and leases.
        now: Seconds since the epoch; None for the database's clock.

    Returns:
        The studies that were cancelled because another run replaced theirs; the caller cleans up after them.
    """
    ended: list[StudyRow] = []
    with core.database.reading() as session:
        now = core.database.time(session) if now is None else now
        schedule_ids = list(session.scalars(select(ScheduleRow.id).where(ScheduleRow.next_at <= now)))
    for schedule_id in schedule_ids:
        has_more = True
        while has_more:
            try:
                with core.database.transaction() as session:
                    has_more = _fire_batch(core, session, schedule_id, now, ended)
            except Exception:
                log.exception("the due times of schedule %d are left to the next round", schedule_id)
                has_more = False
    return ended


def _fire_batch(core: Core, session: Session, schedule_id: int, now: float, ended: list[StudyRow]) -> bool:
    """Lock a schedule and deal with one batch of its due times; add to `ended`. Return True where more have come."""
    schedule = session.scalar(select(ScheduleRow).where(ScheduleRow.id == schedule_id).with_for_update())
    if schedule is None or schedule.next_at is None or schedule.next_at > now:
        return False  # another service was faster
    times = _due_until(schedule, now)
    is_last_batch = len(times) <= BATCH
    times = times[:BATCH]
    active = running(session, schedule)
    with acting(service_in(schedule.project, schedule.owner)):
        for due in decide(schedule.spec, times, now, is_last_batch, has_active_run=bool(active)):
            if due.skip is None and schedule.spec.concurrency == "replace":
                ended += _replace(core, session, active)
            _record(core, session, schedule, due, now)
    schedule.dealt_until = times[-1]
    plan_next(schedule)
    _remove_oldest_skipped(session, schedule)
    return not is_last_batch and schedule.next_at is not None


def _due_until(schedule: ScheduleRow, now: float) -> list[float]:
    """Return the earliest due times that have come and are not processed yet, at most one more than a batch."""
    times = takewhile(lambda at: at <= now, schedule.spec.due_times(schedule.dealt_until))
    return list(islice(times, BATCH + 1))


def plan_next(schedule: ScheduleRow) -> None:
    """Set when a schedule is due next: never (None) once it has had all its runs. The schedule must be locked."""
    limit = schedule.spec.max_runs
    has_ended = limit is not None and schedule.fired >= limit
    schedule.next_at = None if has_ended else next(schedule.spec.due_times(schedule.dealt_until), None)


def running(session: Session, schedule: ScheduleRow) -> list[RunRow]:
    """Return the runs of a schedule that have not ended, oldest first."""
    active = select(RunRow).where(RunRow.schedule_id == schedule.id, RunRow.state == RunState.RUNNING)
    return list(session.scalars(active.order_by(RunRow.id)))


def _record(core: Core, session: Session, schedule: ScheduleRow, due: Due, now: float) -> None:
    """Start the run of a due time, or record why it is skipped."""
    if due.skip is None:
        start(core, session, schedule, due.at, now)
        return
    run = _new_run(schedule, due.at, now)
    run.state = RunState.SKIPPED
    run.reason = due.skip
    run.finished_at = now
    session.add(run)


def _remove_oldest_skipped(session: Session, schedule: ScheduleRow) -> None:
    """Remove the oldest rows of due times that did not run, all but SKIPPED_KEPT."""
    skipped = (RunRow.schedule_id == schedule.id, RunRow.state == RunState.SKIPPED)
    newest = select(RunRow.due_at).where(*skipped).order_by(RunRow.due_at.desc()).offset(SKIPPED_KEPT).limit(1)
    session.execute(delete(RunRow).where(*skipped, RunRow.due_at <= newest.scalar_subquery()))


def _new_run(schedule: ScheduleRow, due: float, now: float, manual: bool = False) -> RunRow:
    template = schedule.spec.template_digest
    return RunRow(schedule_id=schedule.id, due_at=due, manual=manual, created_at=now, template=template)


def start(core: Core, session: Session, schedule: ScheduleRow, due: float, now: float, manual: bool = False) -> RunRow:
    """Create a run and its study, which waits after its inspection until the run has begun.

    If a study with the run's name exists already, the run gets no study, and fails in its first step.

    Args:
        core: The service's database.
        session: The caller's transaction; the schedule must be locked in it, and of the caller's project.
        schedule: The schedule.
        due: The due time, in seconds since the epoch.
        now: Seconds since the epoch, by the database's clock.
        manual: True where a user triggered the run; it does not count towards `max_runs`.

    Returns:
        The run, flushed.
    """
    spec = schedule.spec.run_spec(due)
    run = _new_run(schedule, due, now, manual)
    run.state = RunState.RUNNING
    schedule.fired += 0 if manual else 1
    if _is_taken(session, spec.name):
        run.message = f"There is a study named {spec.name} already; delete it, or rename the schedule."
    else:
        study = transitions.create(session, core.leases, spec, spec.name, hold=True)
        succession.keep_old_trials(session, study)
        run.study, run.study_id = study.name, study.id
    session.add(run)
    session.flush()
    return run


def trigger(core: Core, session: Session, schedule: ScheduleRow, now: float) -> tuple[RunRow, list[StudyRow]]:
    """Start a run of a schedule now, because a user asked for it. The schedule must be locked.

    Args:
        core: The service's database and leases.
        session: The caller's transaction.
        schedule: The schedule.
        now: Seconds since the epoch, by the database's clock.

    Returns:
        The run; and the studies that were cancelled because it replaced theirs.

    Raises:
        Conflict: A run has not ended and the schedule forbids another, or one has just started.
    """
    active = running(session, schedule)
    ended: list[StudyRow] = []
    if active and schedule.spec.concurrency == "forbid":
        raise Conflict(f"A run of {schedule.name} goes on. Wait for it, or {how_to_end(session, active[0])}.")
    if _is_taken(session, schedule.spec.run_spec(now).name):
        raise Conflict(f"{schedule.name} has just started a run; try again in a second.")
    if schedule.spec.concurrency == "replace":
        ended = _replace(core, session, active)
    return start(core, session, schedule, now, now, manual=True), ended


def _is_taken(session: Session, name: str) -> bool:
    """Return whether a study of the caller's project has a name."""
    return bool(session.scalar(select(func.count()).where(StudyRow.name == name, StudyRow.is_here())))


def how_to_end(session: Session, run: RunRow) -> str:
    """Return what a user may do to end a running run, in the words of a sentence's second half."""
    study = None if run.study_id is None else session.get(StudyRow, run.study_id)
    if study is None or study.state not in ENDED:
        return f"cancel its study {run.study}"
    return f"delete its study {run.study}, whose winner is being compared with the champion"


def _replace(core: Core, session: Session, active: list[RunRow]) -> list[StudyRow]:
    """Cancel running runs and their studies; return the studies that were cancelled."""
    ended = []
    for run in active:
        run.state = RunState.CANCELLED
        run.finished_at = core.database.time(session)
        run.message = "Replaced by the next run."
        study = None if run.study_id is None else study_rows.lock_by_id(session, run.study_id)
        if study is not None and study.state not in ENDED:
            actions.cancel(session, core.leases, study)
            ended.append(study)
        elif study is not None:
            why = f"It was cancelled as the schedule's next run replaced that of {study.name}. {transitions.AGAIN}"
            core.leases.cancel(session, study.id, started=True, why=why)  # its comparison
    return ended
