"""What old runs leave behind goes: their studies, and models that are neither the champion's nor of kept runs."""

from sqlalchemy import delete, select, update

from service import erase
from service.core import Core
from service.schedules import champions
from service.tables import ChampionRow, RunRow, ScheduleRow, StudyRow
from studies.protocol import ENDED
from studies.schedule import RunState

SKIPPED_KEPT = 10_000  # rows of due times that did not run


def sweep(core: Core, schedule_id: int) -> None:
    """Keep the studies of the last `keep_runs` runs, the models of those that won among them, the champion's and that
    of the champion before it. May be repeated at any time."""
    with core.database.reading() as session:
        schedule = session.get(ScheduleRow, schedule_id)
        if schedule is None:
            return
        ran = select(RunRow).where(RunRow.schedule_id == schedule_id, RunRow.state != RunState.SKIPPED)
        runs = list(session.scalars(ran.order_by(RunRow.due_at.desc())))
        old = [run for run in runs[schedule.spec.keep_runs :] if run.state != RunState.RUNNING]
        gone = {run.study_id for run in old if run.study_id is not None}
        studies = list(session.scalars(select(StudyRow).where(StudyRow.id.in_(gone), StudyRow.state.in_(ENDED))))
        present = champions.current(session, schedule)
        in_use = {present.id, present.previous_id} if present is not None else set()
        retired = ChampionRow.run_id.in_([run.id for run in old]) & ChampionRow.id.not_in(in_use - {None})
        files = [champions.file(core.store, c) for c in session.scalars(select(ChampionRow).where(retired))]
    for study in studies:
        erase.study(core, study)
    for file in files:
        file.unlink(missing_ok=True)
    with core.database.transaction() as session:
        session.execute(update(RunRow).where(RunRow.id.in_([run.id for run in old])).values(study_id=None))
        skipped = select(RunRow.id).where(RunRow.schedule_id == schedule_id, RunRow.state == RunState.SKIPPED)
        beyond = session.scalars(skipped.order_by(RunRow.due_at.desc()).offset(SKIPPED_KEPT)).all()
        session.execute(delete(RunRow).where(RunRow.id.in_(beyond)))
