"""Projects: which there are, what each may use, and what each has used.

Whatever creates a study, a schedule, a data set or a token calls `hold` first; the routes of projects call the rest.
A project is made by an admin, before anything is created in it; `default` is always there, also without a row. What
the limits and weights do is decided where work is handed out.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import Session

from luthier.service.caller import DEFAULT_PROJECT, Scope, current
from luthier.service.errors import Conflict, Forbidden, NotFound
from luthier.service.schemas.projects import ProjectLimits, ProjectView
from luthier.service.storage.access_tables import ProjectRow, TokenRow
from luthier.service.storage.believable import busy_seconds
from luthier.service.storage.damaged import instant_or_epoch
from luthier.service.storage.database import Database
from luthier.service.storage.schedule_tables import ScheduleRow
from luthier.service.storage.service_tables import DatasetRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import TRAINING, TrialState


def exists(session: Session, name: str) -> bool:
    """Return whether there is a project of this name."""
    return name == DEFAULT_PROJECT or ("\0" not in name and session.get(ProjectRow, name) is not None)


def hold(session: Session, name: str | None = None) -> None:
    """Keep a project, the caller's unless another is named, from being deleted until the transaction ends.

    Raises NotFound.
    """
    name = current().project if name is None else name
    if name == DEFAULT_PROJECT:
        return
    row = select(ProjectRow.name).where(ProjectRow.name == name).with_for_update(read=True)
    if "\0" in name or session.scalar(row) is None:
        raise _not_found(name)


def put(database: Database, session: Session, name: str, limits: ProjectLimits) -> bool:
    """Create a project, or change it: what the limits leave out gets its default. Return whether it is new."""
    created = session.get(ProjectRow, name) is None
    values = limits.model_dump()
    insert = database.insert(ProjectRow).values(name=name, created_at=database.time(session), **values)
    session.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))
    session.expire_all()
    return created


def names(session: Session) -> list[str]:
    """Return the projects that the caller may see: an admin all of them, another the one that it works in."""
    if Scope.ADMIN not in current().scopes:
        return [current().project] if exists(session, current().project) else []
    return sorted({DEFAULT_PROJECT, *session.scalars(select(ProjectRow.name))})


def seen(session: Session) -> list[ProjectView]:
    """Return the projects of `names`, with what they hold and have used."""
    shown = names(session)
    rows = {row.name: row for row in session.scalars(select(ProjectRow).where(ProjectRow.name.in_(shown)))}
    return _views(session, shown, rows)


def find(session: Session, name: str) -> ProjectView:
    """Return a project that the caller may see. Raises NotFound."""
    may_see = Scope.ADMIN in current().scopes or name == current().project
    if not may_see or not exists(session, name):
        raise _not_found(name)
    row = session.get(ProjectRow, name)
    return _views(session, [name], {} if row is None else {name: row})[0]


def delete(database: Database, session: Session, name: str) -> None:
    """Delete a project that is empty.

    Raises:
        NotFound: There is none of this name.
        Conflict: It is `default`, or it has studies, schedules, data sets, or tokens that are valid.
    """
    if name == DEFAULT_PROJECT:
        raise Conflict("The project default is always there; PUT changes its weight and its limits.")
    row = None
    if "\0" not in name:
        row = session.scalar(select(ProjectRow).where(ProjectRow.name == name).with_for_update())
    if row is None:
        raise _not_found(name)
    valid = or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > database.now())
    here = (
        ("studies", _count(session, StudyRow, StudyRow.project == name)),
        ("schedules", _count(session, ScheduleRow, ScheduleRow.project == name)),
        ("data sets", _count(session, DatasetRow, DatasetRow.project == name)),
        ("valid tokens", _count(session, TokenRow, TokenRow.project == name, TokenRow.revoked_at.is_(None), valid)),
    )
    if any(count for _, count in here):
        listed = ", ".join(f"{what}: {count:,}" for what, count in here if count)
        raise Conflict(f"The project {name} is not empty ({listed}); delete these, and revoke its tokens, first.")
    session.execute(sql_delete(ProjectRow).where(ProjectRow.name == name))


def check_admin() -> None:
    """Raise Forbidden unless the caller is an admin."""
    if Scope.ADMIN not in current().scopes:
        raise Forbidden(
            "Only an admin makes, changes and deletes projects; ask one, or send a token of the scope admin."
        )


def _not_found(name: str) -> NotFound:
    cure = (
        f"an admin makes it with `luthier project set {name[:64]}`, and `luthier project list` shows those you may use"
    )
    return NotFound(f"There is no project {name[:64]}; {cure}.")


def _count(
    session: Session, table: type[StudyRow | ScheduleRow | DatasetRow | TokenRow], *of: ColumnElement[bool]
) -> int:
    return session.scalar(select(func.count()).select_from(table).where(*of)) or 0


def _views(session: Session, names: Collection[str], rows: dict[str, ProjectRow]) -> list[ProjectView]:
    """Return projects with what they hold and have used, in four queries."""
    studies = _by_project(session, StudyRow, names, ~StudyRow.transient)
    schedules, datasets = _by_project(session, ScheduleRow, names), _by_project(session, DatasetRow, names)
    used = _work(session, names)
    views = []
    for name in names:
        row, (running, seconds) = rows.get(name), used.get(name, (0, 0.0))
        limits = ProjectLimits() if row is None else ProjectLimits.model_validate(row, from_attributes=True)
        views.append(
            ProjectView(
                name=name,
                created_at=None if row is None else instant_or_epoch(row.created_at),
                **limits.model_dump(),
                studies=studies.get(name, 0),
                schedules=schedules.get(name, 0),
                datasets=datasets.get(name, 0),
                running_trials=running,
                gpu_seconds=seconds,
            )
        )
    return views


def _by_project(
    session: Session,
    table: type[StudyRow | ScheduleRow | DatasetRow],
    names: Collection[str],
    *of: ColumnElement[bool],
) -> dict[str, int]:
    counts = select(table.project, func.count()).where(table.project.in_(names), *of).group_by(table.project)
    return {str(project): int(count) for project, count in session.execute(counts)}


def _work(session: Session, names: Collection[str]) -> dict[str, tuple[int, float]]:
    """Return project -> its running trials, and the seconds that workers have spent on its studies."""
    is_running = AssignmentRow.kind.in_(TRAINING) & (AssignmentRow.state == TrialState.RUNNING)
    work = select(StudyRow.project, func.count().filter(is_running), func.sum(busy_seconds())).join(AssignmentRow)
    found = session.execute(work.where(StudyRow.project.in_(names)).group_by(StudyRow.project))
    return {project: (running, round(float(seconds), 3)) for project, running, seconds in found}
