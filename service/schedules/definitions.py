"""Schedules as users define them: create, find, change and remove.

`api/schedules.py` calls these within the transaction of its request. Functions here never commit.
"""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from luthier.service.access import projects
from luthier.service.errors import Conflict, NotFound
from luthier.service.lifecycle import labels, warm_sources
from luthier.service.schedules import due_times
from luthier.service.storage.database import Database
from luthier.service.storage.schedule_tables import RunRow, ScheduleRow
from luthier.studies.schedule import ScheduleSpec, changed
from luthier.studies.spec import StudySpec


def find(session: Session, name: str) -> ScheduleRow:
    """Return the schedule with a name in the caller's project. Raises NotFound."""
    return _named(session, name, select(ScheduleRow))


def lock(session: Session, name: str) -> ScheduleRow:
    """Return the schedule with a name in the caller's project, locked until the transaction ends. Raises NotFound."""
    return _named(session, name, select(ScheduleRow).with_for_update())


def _named(session: Session, name: str, rows_of: Select[ScheduleRow]) -> ScheduleRow:
    # NUL is in no name, and Postgres takes none in a query.
    schedule = None if "\0" in name else session.scalar(rows_of.where(ScheduleRow.name == name, ScheduleRow.is_here()))
    if schedule is None:
        raise NotFound(f"There is no schedule named {name}.")
    return schedule


def etag(schedule: ScheduleRow) -> str:
    """Return the entity tag of a schedule: it changes with its spec, and with nothing else."""
    return labels.etag_of("schedule", schedule.id, schedule.spec.model_dump(mode="json"))


def find_or_create(session: Session, database: Database, spec: ScheduleSpec) -> tuple[bool, ScheduleRow]:
    """Create a schedule, or find the one with the same name and the same spec.

    Args:
        session: The caller's transaction.
        database: Its clock says when the schedule was created.
        spec: The schedule as its user gave it.

    Returns:
        True where the schedule is new; and the schedule.

    Raises:
        Conflict: The name is taken by another schedule.
        NotFound: There is no such project.
        Invalid: Its studies are to begin with another study's best, which is not there.
        IntegrityError: Another request has just created it; the caller tries again.
    """
    schedule = session.scalar(select(ScheduleRow).where(ScheduleRow.name == spec.name, ScheduleRow.is_here()))
    if schedule is not None:
        if not schedule.spec.says_the_same(spec):
            text = (
                f"The name {spec.name} is taken by another schedule; choose another name, or change that one (PATCH)."
            )
            raise Conflict(text)
        return False, schedule
    projects.hold(session)
    spec = _written_out(session, spec)
    now = database.time(session)
    schedule = ScheduleRow(name=spec.name, spec=spec, created_at=now, dealt_until=now, fired=0)
    due_times.plan_next(schedule)
    session.add(schedule)
    session.flush()
    return True, schedule


def change(session: Session, database: Database, schedule: ScheduleRow, changes: dict[str, Any]) -> None:
    """Replace some keys of a schedule. The schedule must be locked, and its due times fired until now.

    The due times of another cron or time zone count from now on.

    Args:
        session: The caller's transaction.
        database: Its clock gives the present time.
        schedule: The schedule.
        changes: Key -> new value, as JSON has it; None puts a key back to its default.

    Raises:
        ValidationError: The changed schedule is not valid.
        Invalid: Its studies are to begin with another study's best, which is not there.
    """
    old_spec = schedule.spec
    schedule.spec = _written_out(session, changed(old_spec, changes), old_spec.study)
    if (old_spec.cron, old_spec.timezone) != (schedule.spec.cron, schedule.spec.timezone):
        schedule.dealt_until = database.time(session)
    elif schedule.next_at is None:  # it had ended (max_runs): skip the due times between then and now
        schedule.dealt_until = max(schedule.dealt_until, database.time(session))
    due_times.plan_next(schedule)


def _written_out(session: Session, spec: ScheduleSpec, before: StudySpec | None = None) -> ScheduleSpec:
    """Return a schedule whose template has the configurations of its `warm_start` written out. Raises Invalid."""
    study = warm_sources.written_out(session, spec.study, "study", before=before)
    return spec if study is spec.study else spec.model_copy(update={"study": study})


def remove(session: Session, schedule: ScheduleRow) -> None:
    """Remove a schedule with its runs and champions; its studies stay.

    Raises:
        Conflict: A run has not ended.
    """
    active: list[RunRow] = due_times.running(session, schedule)
    if active:
        raise Conflict(f"A run of {schedule.name} goes on. First {due_times.how_to_end(session, active[0])}.")
    session.delete(schedule)
