"""What an ended study is still needed for: by a run under way, by a study that goes on from it, by a champion.

`prune.py` asks before it removes anything. It changes nothing.
"""

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from luthier.service.lifecycle.transitions import ACTIVE
from luthier.service.storage.column_types import Unreadable
from luthier.service.storage.schedule_tables import ChampionRow, RunRow, ScheduleRow
from luthier.service.storage.tables import AssignmentRow, StudyRow, TakeoverRow
from luthier.studies.protocol import ENDED, USES
from luthier.studies.schedule_runs import RunState


def need_of_all(session: Session, study: StudyRow) -> str | None:
    """Return why nothing of a study may go, as a clause; None where its logs may, for example."""
    if study.state not in ENDED:
        return f"it is {study.state}"
    work = session.scalar(_active(study).where(AssignmentRow.kind.not_in(USES)))
    if work is not None:
        return f"work of it ({work}) has not ended"
    schedule = session.scalar(_runs(study).where(RunRow.state == RunState.RUNNING))
    if schedule is not None:
        return f"a run of the schedule {schedule} has not ended"
    for source in session.scalars(select(TakeoverRow.source).where(TakeoverRow.trials.is_not(None))):
        if source is not None and not isinstance(source, Unreadable) and source.id == study.id:
            return "a study that goes on from it has not begun"
    return None


def need_of_weights(session: Session, study: StudyRow) -> str | None:
    """Return why a study must stay with its rows and its weights, as a clause; None where they may go."""
    champion = select(ScheduleRow.name).join(ChampionRow, ScheduleRow.champion_id == ChampionRow.id)
    schedule = session.scalar(
        champion.where(ChampionRow.study == study.name, ScheduleRow.project == study.project).limit(1)
    )
    if schedule is not None:
        return f"the champion of the schedule {schedule} is its winner"
    schedule = session.scalar(_runs(study))
    if schedule is not None:
        return f"the schedule {schedule} keeps it with its last runs"
    work = session.scalar(_active(study))
    return None if work is None else f"work with its winner ({work}) has not ended"


def _active(study: StudyRow) -> Select[str]:
    """Return the query of one kind of work of a study that has not ended."""
    active = (AssignmentRow.study_id == study.id, AssignmentRow.state.in_(ACTIVE))
    return select(AssignmentRow.kind).where(*active).limit(1)


def _runs(study: StudyRow) -> Select[str]:
    """Return the query of a schedule one of whose runs a study is."""
    schedules = select(ScheduleRow.name).join(RunRow, ScheduleRow.id == RunRow.schedule_id)
    return schedules.where(RunRow.study_id == study.id).limit(1)
