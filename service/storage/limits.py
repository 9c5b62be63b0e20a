"""Limits of projects and users: what they say, and how much of them is taken. Nothing is changed here.

Claims call it, and whoever tells why a study waits. A user is the name of the tokens that created a study
(`StudyRow.owner`); of several live tokens with one name the smallest limit counts, and where none is live, that of the
last one: whoever is shut out gets no more of the fleet by it. A project without a row has none. Each claim asks for a
study's limits, most of which have none: the statement is built once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import CompoundSelect, bindparam, case, func, literal, or_, select, union_all
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.storage.access_tables import ProjectRow, TokenRow
from luthier.service.storage.believable import committed_gpu_seconds
from luthier.service.storage.database import KEPT_NOW, Database
from luthier.service.storage.share_tables import DeletedUsageRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import TRAINING, USES, TrialState


@dataclass(frozen=True)
class Limits:
    """The limits of one project or user.

    Attributes:
        who: the column of the study that has its name.
        name: the project's name, or the user's.
        parallel: trials that may run at the same time; None: any number.
        gpu_seconds: that its studies may use together; None: any number.
    """

    who: str
    name: str
    parallel: int | None = None
    gpu_seconds: float | None = None

    @property
    def shown(self) -> str:
        """The project or the user, for people."""
        return f"Project {self.name}" if self.who == "project" else f"User {self.name}"

    @property
    def key(self) -> str:
        """What claims serialize by, so that none of them passes a limit beside another (`Database.serialize`)."""
        return f"{self.who}/{self.name}"

    @property
    def _is_own(self) -> ColumnElement[bool]:
        own: ColumnElement[bool] = getattr(StudyRow, self.who) == self.name
        return own

    def running(self, session: Session) -> int:
        """Return how many of its trials and repetitions run."""
        running = select(func.count()).select_from(AssignmentRow).join(StudyRow)
        running = running.where(AssignmentRow.state == TrialState.RUNNING, AssignmentRow.kind.in_(TRAINING))
        return session.scalar(running.where(self._is_own)) or 0

    def committed(self, session: Session) -> float:
        """Return the GPU seconds that its studies have used, and that its running trials are expected to."""
        there = select(func.sum(committed_gpu_seconds())).select_from(AssignmentRow).join(StudyRow)
        there = there.where(self._is_own, AssignmentRow.kind.not_in(USES))
        column = DeletedUsageRow.project if self.who == "project" else DeletedUsageRow.owner
        gone = select(func.sum(DeletedUsageRow.gpu_seconds)).where(column == self.name)
        return float(session.scalar(there) or 0.0) + float(session.scalar(gone) or 0.0)


def are_set() -> ColumnElement[bool]:
    """Return the SQL expression of whether any project or token has a limit; where none has, `full` need not look."""
    of_tokens = select(TokenRow.id).where(TokenRow.max_parallel.is_not(None) | TokenRow.max_gpu_seconds.is_not(None))
    of_projects = select(ProjectRow.name)
    of_projects = of_projects.where(ProjectRow.max_parallel.is_not(None) | ProjectRow.max_gpu_seconds.is_not(None))
    return or_(of_projects.exists(), of_tokens.exists())


def limits_of(session: Session, database: Database, project: str, owner: str | None) -> list[Limits]:
    """Return the limits that hold for a study: its project's, then its owner's; those that limit nothing left out."""
    return all_limits(session, database, [project], [owner] if owner else [])


def all_limits(
    session: Session, database: Database, projects: Iterable[str] | None = None, owners: Iterable[str] | None = None
) -> list[Limits]:
    """Return the limits that are set, of projects first; `projects` and `owners`: of these names only."""
    named: dict[str, list[str]] = {}
    if projects is not None:
        named["projects"] = list(projects)
    if owners is not None:
        named["owners"] = list(owners)
    statement = _statement(projects is not None, owners is not None)
    rows = session.execute(statement, {"clock_offset": database.clock_offset, **named})
    return sorted((Limits(*row) for row in rows), key=lambda limits: limits.who != "project")


@lru_cache(maxsize=4)
def _statement(by_project: bool, by_owner: bool) -> CompoundSelect[str, str, int | None, float | None]:
    """Build the query of `all_limits`: of the projects and owners in its parameters, or of all of them."""
    columns = (ProjectRow.name, ProjectRow.max_parallel, ProjectRow.max_gpu_seconds)
    is_set = ProjectRow.max_parallel.is_not(None) | ProjectRow.max_gpu_seconds.is_not(None)
    of_projects = select(literal("project"), *columns).where(is_set)
    if by_project:
        of_projects = of_projects.where(ProjectRow.name.in_(bindparam("projects", expanding=True)))
    parallel, seconds = func.min(TokenRow.max_parallel), func.min(TokenRow.max_gpu_seconds)
    live = TokenRow.revoked_at.is_(None) & (TokenRow.expires_at.is_(None) | (TokenRow.expires_at > KEPT_NOW))
    last = select(func.max(TokenRow.id)).group_by(TokenRow.name).having(func.max(case((live, 1), else_=0)) == 0)
    of_owners = select(literal("owner"), TokenRow.name, parallel, seconds).where(live | TokenRow.id.in_(last))
    of_owners = of_owners.where(TokenRow.max_parallel.is_not(None) | TokenRow.max_gpu_seconds.is_not(None))
    if by_owner:
        of_owners = of_owners.where(TokenRow.name.in_(bindparam("owners", expanding=True)))
    return union_all(of_projects, of_owners.group_by(TokenRow.name))


def full(session: Session, database: Database) -> list[Limits]:
    """Return the limits on parallel trials that are reached now."""
    limited = [limits for limits in all_limits(session, database) if limits.parallel is not None]
    return [limits for limits in limited if limits.running(session) >= (limits.parallel or 0)]
