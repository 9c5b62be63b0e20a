"""Due times become rows. The schedule's row is locked meanwhile, and (schedule, due time) is unique: so with any number
of services, and after any absence, each due time is there exactly once."""

import logging
from itertools import islice, takewhile

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from luthier.service.dispatch.core import Core
from luthier.service.errors import Conflict
from luthier.service.lifecycle import study_rows
from luthier.service.lifecycle import transitions as lifecycle
from luthier.service.storage.tables import RunRow, ScheduleRow, StudyRow
from luthier.studies.protocol import ENDED
from luthier.studies.schedule import Due, RunState, decide

log = logging.getLogger("luthier")
SKIPPED_KEPT = 10_000  # rows of due times that did not run
BATCH = 500  # due times dealt with in one transaction, after a long absence


def fire(core: Core, now: float | None = None) -> list[StudyRow]:
    """Deal with every due time that has come; `now`: seconds since the epoch, else the database's clock.

    Returns the studies that were ended because their run was replaced.
    """
    ended: list[StudyRow] = []
    with core.database.reading() as session:
        now = core.database.time(session) if now is None else now
        due = list(session.scalars(select(ScheduleRow.id).where(ScheduleRow.next_at <= now)))
    for schedule_id in due:
        more = True
        while more:
            try:
                with core.database.transaction() as session:
                    more = _deal(core, session, schedule_id, now, ended)
            except Exception:
                log.exception("the due times of schedule %d are left to the next round", schedule_id)
                more = False
    return ended


def _deal(core: Core, session: Session, schedule_id: int, now: float, ended: list[StudyRow]) -> bool:
    """One batch of a schedule's due times; whether there are more."""
    schedule = session.scalar(select(ScheduleRow).where(ScheduleRow.id == schedule_id).with_for_update())
    if schedule is None or schedule.next_at is None or schedule.next_at > now:
        return False  # another service was faster
    times = _until(schedule, now)
    latest, times = len(times) <= BATCH, times[:BATCH]
    active = running(session, schedule)
    for due in decide(schedule.spec, times, now, latest, bool(active)):
        if due.skip is None and schedule.spec.concurrency == "replace":
            ended += _replace(core, session, active)
        _record(core, session, schedule, due, now)
    schedule.dealt_until = times[-1]
    plan_next(schedule)
    _forget(session, schedule)
    return not latest and schedule.next_at is not None


def _until(schedule: ScheduleRow, now: float) -> list[float]:
    """The next due times that have come, one more than a batch at most."""
    come = takewhile(lambda at: at <= now, schedule.spec.due_times(schedule.dealt_until))
    return list(islice(come, BATCH + 1))


def plan_next(schedule: ScheduleRow) -> None:
    """Set when the schedule is due next: never, once it has had all its runs."""
    limit = schedule.spec.max_runs
    over = limit is not None and schedule.fired >= limit
    schedule.next_at = None if over else next(schedule.spec.due_times(schedule.dealt_until), None)


def running(session: Session, schedule: ScheduleRow) -> list[RunRow]:
    found = select(RunRow).where(RunRow.schedule_id == schedule.id, RunRow.state == RunState.RUNNING)
    return list(session.scalars(found.order_by(RunRow.id)))


def _record(core: Core, session: Session, schedule: ScheduleRow, due: Due, now: float) -> None:
    if due.skip is None:
        start(core, session, schedule, due.at, now)
        return
    run = _row(schedule, due.at, now)
    run.state, run.reason, run.finished_at = RunState.SKIPPED, due.skip, now
    session.add(run)


def _forget(session: Session, schedule: ScheduleRow) -> None:
    """Remove the oldest rows of due times that did not run."""
    skipped = (RunRow.schedule_id == schedule.id, RunRow.state == RunState.SKIPPED)
    newest = select(RunRow.due_at).where(*skipped).order_by(RunRow.due_at.desc()).offset(SKIPPED_KEPT).limit(1)
    session.execute(delete(RunRow).where(*skipped, RunRow.due_at <= newest.scalar_subquery()))


def _row(schedule: ScheduleRow, due: float, now: float, manual: bool = False) -> RunRow:
    template = schedule.spec.template_digest
    return RunRow(schedule_id=schedule.id, due_at=due, manual=manual, created_at=now, template=template)


def start(core: Core, session: Session, schedule: ScheduleRow, due: float, now: float, manual: bool = False) -> RunRow:
    """A run and its study, which waits once it is inspected. Where a study has that name already, the run has none, and
    fails when it is moved on."""
    spec = schedule.spec.run_spec(due)
    run = _row(schedule, due, now, manual)
    run.state = RunState.RUNNING
    schedule.fired += 0 if manual else 1
    if session.scalar(select(func.count()).where(StudyRow.name == spec.name)):
        run.message = f"There is a study named {spec.name} already; delete it, or rename the schedule."
    else:
        study = lifecycle.create(session, core.leases, spec, spec.name, hold=True)
        run.study, run.study_id = study.name, study.id
    session.add(run)
    session.flush()
    return run


def trigger(core: Core, session: Session, schedule: ScheduleRow, now: float) -> tuple[RunRow, list[StudyRow]]:
    """A run now, on a user's word, of a locked schedule; and the studies that it replaced. Raises Conflict."""
    active = running(session, schedule)
    ended: list[StudyRow] = []
    if active and schedule.spec.concurrency == "forbid":
        raise Conflict(f"A run of {schedule.name} goes on. Wait for it, or {how_to_end(session, active[0])}.")
    if session.scalar(select(func.count()).where(StudyRow.name == schedule.spec.run_spec(now).name)):
        raise Conflict(f"{schedule.name} has just started a run; try again in a second.")
    if schedule.spec.concurrency == "replace":
        ended = _replace(core, session, active)
    return start(core, session, schedule, now, now, manual=True), ended


def how_to_end(session: Session, run: RunRow) -> str:
    """What a user may do to end a run that goes on."""
    study = None if run.study_id is None else session.get(StudyRow, run.study_id)
    if study is None or study.state not in ENDED:
        return f"cancel its study {run.study}"
    return f"delete its study {run.study}, whose winner is being compared with the champion"


def _replace(core: Core, session: Session, active: list[RunRow]) -> list[StudyRow]:
    """Cancel the runs that go on, and their studies."""
    ended = []
    for run in active:
        run.state, run.finished_at = RunState.CANCELLED, core.database.time(session)
        run.message = "Replaced by the next run."
        study = None if run.study_id is None else study_rows.lock_by_id(session, run.study_id)
        if study is not None and study.state not in ENDED:
            lifecycle.cancel(session, core.leases, study)
            ended.append(study)
        elif study is not None:
            core.leases.cancel(session, study.id, started=True)  # its comparison
    return ended
