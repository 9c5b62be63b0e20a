"""Retention: remove the studies, models and notifications of runs older than a schedule's `keep_runs`.

`steps.py` sweeps when a run ends. Never removes the model of the champion or of the champion before it.
"""

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from luthier.service.dispatch import deletion
from luthier.service.dispatch.core import Core
from luthier.service.schedules import champions
from luthier.service.storage.schedule_tables import ChampionRow, DeliveryRow, RunRow, ScheduleRow
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import ENDED
from luthier.studies.schedule_runs import RunState

DELIVERIES_KEPT_SECONDS = 30 * 86400.0  # how long the outcome of a notification is kept


def sweep(core: Core, schedule_id: int) -> None:
    """Remove the studies, models and notifications of a schedule's old runs; it may be called at any time.

    It opens transactions of its own. The studies of the last `keep_runs` runs stay, and the models that those runs
    promoted; so do the champion's model, that of the champion before it, and studies that have not ended.

    Args:
        core: The service's database, searches and files.
        schedule_id: The schedule; nothing happens if it was deleted.
    """
    with core.database.reading() as session:
        schedule = session.get(ScheduleRow, schedule_id)
        if schedule is None:
            return
        old = [run.study_id for run in _old_runs(session, schedule)]
        studies = list(session.scalars(select(StudyRow).where(StudyRow.id.in_(old), StudyRow.state.in_(ENDED))))
    for study in studies:
        deletion.delete_study(core, study)
    with core.database.transaction() as session:
        schedule = session.scalar(select(ScheduleRow).where(ScheduleRow.id == schedule_id).with_for_update())
        if schedule is None:
            return
        _remove_models(core, session, schedule)
        removed = RunRow.study_id.in_([study.id for study in studies])
        session.execute(update(RunRow).where(RunRow.schedule_id == schedule_id, removed).values(study_id=None))
        finished = (DeliveryRow.schedule_id == schedule_id, DeliveryRow.next_at.is_(None))
        is_old = DeliveryRow.created_at < core.database.now() - DELIVERIES_KEPT_SECONDS
        session.execute(delete(DeliveryRow).where(*finished, is_old))


def _remove_models(core: Core, session: Session, schedule: ScheduleRow) -> None:
    """Remove old models of a schedule, which must be locked: no rollback may change its champion at the same time."""
    present = champions.current(session, schedule)
    in_use = set() if present is None else {present.id, present.previous_id} - {None}
    retired = (ChampionRow.run_id.not_in(_kept_runs(session, schedule)), ChampionRow.id.not_in(in_use))
    for champion in session.scalars(select(ChampionRow).where(ChampionRow.schedule_id == schedule.id, *retired)):
        core.store.remove(champions.place(champion))


def _kept_runs(session: Session, schedule: ScheduleRow) -> list[int]:
    """Return the ids of the last `keep_runs` runs."""
    ran = select(RunRow.id).where(RunRow.schedule_id == schedule.id, RunRow.state != RunState.SKIPPED)
    return list(session.scalars(ran.order_by(RunRow.due_at.desc()).limit(schedule.spec.keep_runs)))


def _old_runs(session: Session, schedule: ScheduleRow) -> list[RunRow]:
    """Return the ended runs before the last `keep_runs` whose study may still exist."""
    ended = (RunRow.state.not_in((RunState.SKIPPED, RunState.RUNNING)), RunRow.study_id.is_not(None))
    before = RunRow.id.not_in(_kept_runs(session, schedule))
    return list(session.scalars(select(RunRow).where(RunRow.schedule_id == schedule.id, *ended, before)))
