"""Turns of runs, and the rows of a run read while its turn is held.

`runs.py` takes the turns, `steps.py` reads rows under them. Rows are locked in this order: schedule, study. Nothing
here commits.
"""

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.errors import Conflict
from luthier.service.lifecycle import study_rows
from luthier.service.storage.schedule_tables import RunRow, ScheduleRow
from luthier.service.storage.tables import StudyRow
from luthier.studies.schedule_runs import RunState

DELETED = "Its study was deleted."


class Turn(NamedTuple):
    """The right of one service to execute a run's next step; until it ends, other services leave the run alone."""

    run_id: int
    token: str


class TurnLost(Exception):
    """The run has ended, or the turn took too long and has passed to another service."""


def lock_run(session: Session, turn: Turn) -> tuple[RunRow, ScheduleRow]:
    """Lock the schedule of a run; return the run, read after that, and the schedule.

    Raises:
        TurnLost: The run has ended, or the turn is another service's.
    """
    run = session.get_one(RunRow, turn.run_id)
    schedule = session.scalars(select(ScheduleRow).where(ScheduleRow.id == run.schedule_id).with_for_update()).one()
    session.refresh(run)
    if run.state != RunState.RUNNING or run.turn != turn.token:
        raise TurnLost
    return run, schedule


def lock_run_and_study(session: Session, turn: Turn) -> tuple[RunRow, ScheduleRow, StudyRow]:
    """Lock the schedule and the study of a run; return the run, the schedule and the study.

    Raises:
        TurnLost: The run has ended, or the turn is another service's.
        Conflict: The study was deleted.
    """
    run, schedule = lock_run(session, turn)
    study = None if run.study_id is None else study_rows.lock_by_id(session, run.study_id)
    if study is None:
        raise Conflict(DELETED)
    return run, schedule, study


def last_finished(session: Session, schedule: ScheduleRow) -> RunRow | None:
    """Return the schedule's latest finished run, or None before the first."""
    finished = select(RunRow).where(RunRow.schedule_id == schedule.id, RunRow.state == RunState.FINISHED)
    return session.scalar(finished.order_by(RunRow.due_at.desc()).limit(1))
