"""What old runs leave behind goes: their studies, and models that are neither the champion's nor of kept runs."""

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from luthier.service.dispatch import deletion
from luthier.service.dispatch.core import Core
from luthier.service.schedules import champions
from luthier.service.storage.tables import ChampionRow, DeliveryRow, RunRow, ScheduleRow, StudyRow
from luthier.studies.protocol import ENDED
from luthier.studies.schedule import RunState

TOLD_SECONDS = 30 * 86400.0  # how long it is known what became of a notification


def sweep(core: Core, schedule_id: int) -> None:
    """Keep the studies of the last `keep_runs` runs, the models of those that won among them, the champion's and that
    of the champion before it. May be repeated at any time."""
    with core.database.reading() as session:
        schedule = session.get(ScheduleRow, schedule_id)
        if schedule is None:
            return
        old = [run.study_id for run in _old(session, schedule)]
        studies = list(session.scalars(select(StudyRow).where(StudyRow.id.in_(old), StudyRow.state.in_(ENDED))))
    for study in studies:
        deletion.delete_study(core, study)
    with core.database.transaction() as session:
        schedule = session.scalar(select(ScheduleRow).where(ScheduleRow.id == schedule_id).with_for_update())
        if schedule is None:
            return
        _remove_models(core, session, schedule)
        gone = update(RunRow).where(RunRow.schedule_id == schedule_id, RunRow.study_id.in_([s.id for s in studies]))
        session.execute(gone.values(study_id=None))
        told = (DeliveryRow.schedule_id == schedule_id, DeliveryRow.next_at.is_(None))
        old_ones = DeliveryRow.created_at < core.database.now() - TOLD_SECONDS
        session.execute(delete(DeliveryRow).where(*told, old_ones))


def _remove_models(core: Core, session: Session, schedule: ScheduleRow) -> None:
    """Of a locked schedule, whose champion can change no more meanwhile."""
    present = champions.current(session, schedule)
    in_use = set() if present is None else {present.id, present.previous_id} - {None}
    retired = (ChampionRow.run_id.not_in(_kept(session, schedule)), ChampionRow.id.not_in(in_use))
    for champion in session.scalars(select(ChampionRow).where(ChampionRow.schedule_id == schedule.id, *retired)):
        champions.file(core.store, champion).unlink(missing_ok=True)


def _kept(session: Session, schedule: ScheduleRow) -> list[int]:
    """Ids of the last `keep_runs` runs."""
    ran = select(RunRow.id).where(RunRow.schedule_id == schedule.id, RunRow.state != RunState.SKIPPED)
    return list(session.scalars(ran.order_by(RunRow.due_at.desc()).limit(schedule.spec.keep_runs)))


def _old(session: Session, schedule: ScheduleRow) -> list[RunRow]:
    """Ended runs before those, whose study may still be there."""
    ended = (RunRow.state.not_in((RunState.SKIPPED, RunState.RUNNING)), RunRow.study_id.is_not(None))
    before = RunRow.id.not_in(_kept(session, schedule))
    return list(session.scalars(select(RunRow).where(RunRow.schedule_id == schedule.id, *ended, before)))
