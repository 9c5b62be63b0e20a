"""Schedules made, found, changed and removed."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from luthier.service.errors import Conflict, NotFound
from luthier.service.schedules import due_times as ticks
from luthier.service.storage.database import Database
from luthier.service.storage.tables import RunRow, ScheduleRow
from luthier.studies.schedule import ScheduleSpec, changed


def find(session: Session, name: str) -> ScheduleRow:
    """Raises NotFound."""
    return _named(session, name, select(ScheduleRow))


def locked(session: Session, name: str) -> ScheduleRow:
    """The schedule's row, locked until the transaction ends. Raises NotFound."""
    return _named(session, name, select(ScheduleRow).with_for_update())


def _named(session: Session, name: str, rows_of: Select[ScheduleRow]) -> ScheduleRow:
    # NUL is in no name, and Postgres takes none in a query.
    schedule = None if "\0" in name else session.scalar(rows_of.where(ScheduleRow.name == name))
    if schedule is None:
        raise NotFound(f"There is no schedule named {name}.")
    return schedule


def find_or_create(session: Session, database: Database, spec: ScheduleSpec) -> tuple[bool, ScheduleRow]:
    """Whether the schedule is new, and the schedule. Raises Conflict when the name is taken by another one."""
    schedule = session.scalar(select(ScheduleRow).where(ScheduleRow.name == spec.name))
    if schedule is not None:
        if schedule.spec != spec:
            text = (
                f"The name {spec.name} is taken by another schedule; choose another name, or change that one (PATCH)."
            )
            raise Conflict(text)
        return False, schedule
    now = database.time(session)
    schedule = ScheduleRow(name=spec.name, spec=spec, created_at=now, dealt_until=now, fired=0)
    ticks.plan_next(schedule)
    session.add(schedule)
    session.flush()
    return True, schedule


def change(session: Session, database: Database, schedule: ScheduleRow, changes: dict[str, Any]) -> None:
    """Replace some of its keys. Times of another cron or zone count from now on. Raises ValidationError."""
    before, schedule.spec = schedule.spec, changed(schedule.spec, changes)
    if (before.cron, before.timezone) != (schedule.spec.cron, schedule.spec.timezone):
        schedule.dealt_until = database.time(session)
    elif schedule.next_at is None:  # it had ended: the times meanwhile were nobody's
        schedule.dealt_until = max(schedule.dealt_until, database.time(session))
    ticks.plan_next(schedule)


def remove(session: Session, schedule: ScheduleRow) -> None:
    """Remove the schedule with its runs and champions; its studies stay. Raises Conflict while a run goes on."""
    active: list[RunRow] = ticks.running(session, schedule)
    if active:
        raise Conflict(f"A run of {schedule.name} goes on. First {ticks.how_to_end(session, active[0])}.")
    session.delete(schedule)
