"""The order of work: which studies could start a trial now, and whose turn it is, read from rows.

`claims.py` asks at each claim; `fair_share.py` decides. A claim takes the first study that has work for its worker: one
that is passed over, as there is no room for it on this GPU, keeps its place. Nothing is locked here. A claim reads in
two queries, which are built once, all that an order and a charge need.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import Select, String, bindparam, func, select
from sqlalchemy.orm import Session, aliased

from luthier.service.dispatch.fair_share import Candidate, Flow, held_back, in_order
from luthier.service.storage import limits, shares
from luthier.service.storage.access_tables import ProjectRow
from luthier.service.storage.database import Database
from luthier.service.storage.share_tables import FLEET, ShareRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.service.storage.work_queue import WORKING, is_only
from luthier.studies.protocol import TRAINING, StudyState, TrialState


@dataclass(frozen=True)
class Order:
    """The studies that could start a trial, in the order in which a worker is offered to them.

    Attributes:
        candidates: the studies.
        queued: ids of those that have a trial queued; the others have one drawn.
        held: those that are held back by a priority.
    """

    candidates: Sequence[Candidate] = ()
    queued: frozenset[int] = frozenset()
    held: Sequence[Candidate] = ()


def work_order(session: Session, database: Database, only: str | None, turns: Mapping[str, float]) -> Order:
    """Return the studies that could start a trial now, in order.

    Args:
        session: the caller's transaction.
        database: of the session.
        only: the name of the one study to consider; None: all.
        turns: as for `in_order`.
    """
    studies = session.execute(_working(only)).all()
    full = (
        {(limit.who, limit.name) for limit in limits.full(session, database)}
        if studies and studies[0].are_limits_set
        else set()
    )
    ready = [
        study
        for study in studies
        if study.running < study.parallel
        and (study.wants_more or study.queued)
        and not full & {("project", study.project), ("owner", study.owner)}
    ]
    queued = frozenset(study.id for study in studies if study.queued)
    if len(ready) <= 1:  # there is nobody to share with
        return Order([Candidate(study.id, study.project, Flow(), Flow()) for study in ready], queued)
    projects = _projects(session, {study.project for study in ready})
    candidates = [
        Candidate(
            study.id,
            study.project,
            projects[study.project],
            Flow(study.priority, study.weight, study.virtual_time),
            study.waits_since,
        )
        for study in ready
    ]
    held = held_back(candidates)
    owed = session.scalar(select(ShareRow.owed).where(ShareRow.project == FLEET)) if held else None
    return Order(in_order(candidates, owed or 0.0, turns), queued, held)


@lru_cache(maxsize=8)
def _working(only: str | None) -> Select[*tuple[Any, ...]]:
    """Build the query of the studies that are at work: how many trials and repetitions of each run, and are queued."""
    active = (
        select(
            AssignmentRow.study_id,
            func.count().filter(AssignmentRow.state == TrialState.RUNNING).label("running"),
            func.count().filter(AssignmentRow.state == TrialState.QUEUED).label("queued"),
        )
        .where(AssignmentRow.state.in_((TrialState.QUEUED, TrialState.RUNNING)), AssignmentRow.kind.in_(TRAINING))
        .group_by(AssignmentRow.study_id)
        .subquery()
    )
    working = (
        select(
            StudyRow.id,
            StudyRow.project,
            StudyRow.owner,
            StudyRow.parallel,
            ((StudyRow.state == StudyState.RUNNING) & StudyRow.ending.is_(None)).label("wants_more"),
            StudyRow.priority,
            StudyRow.weight,
            StudyRow.virtual_time,
            func.coalesce(StudyRow.served_at, StudyRow.created_at).label("waits_since"),
            func.coalesce(active.c.running, 0).label("running"),
            func.coalesce(active.c.queued, 0).label("queued"),
            limits.are_set().label("are_limits_set"),
        )
        .outerjoin(active, active.c.study_id == StudyRow.id)
        .where(StudyRow.state.in_(WORKING), ~StudyRow.external, ~StudyRow.transient)
        .order_by(StudyRow.id)
    )
    return working if only is None else working.where(is_only(only))


def of_others(session: Session, order: Order, projects: Collection[str]) -> Order:
    """Return the order without the studies of some projects, and those of a lower priority than all of these."""
    if not projects or all(candidate.project in projects for candidate in order.candidates):
        return Order()
    flows = _projects(session, {*projects, *(candidate.project for candidate in order.candidates)})
    least = min(flows[name].priority for name in projects)
    others = [one for one in order.candidates if one.project not in projects and flows[one.project].priority >= least]
    return Order(others, order.queued, order.held)


@dataclass(frozen=True)
class Start:
    """What the start of a trial depends on, read before it.

    Attributes:
        running: trials and repetitions of the study that run.
        running_in_project: those of all studies of its project.
        of_project: the project, as it shares.
        study_clock: the latest `virtual_start` of the studies of its project and priority.
        project_clock: that of the projects of the project's priority.
        are_limits_set: whether any project or user has a limit.
    """

    running: int
    running_in_project: int
    of_project: Flow
    study_clock: float
    project_clock: float
    are_limits_set: bool


def start_of(session: Session, study: StudyRow) -> Start:
    """Return what the start of a trial of a locked study depends on."""
    of_study = {"study_id": study.id, "project": study.project, "priority": study.priority}
    found = session.execute(_start(), of_study).one()
    flow = Flow(found.priority or 0, found.weight or 1.0, found.virtual_time or 0.0)
    clocks = (found.study_clock or 0.0, found.project_clock or 0.0)
    return Start(found.running, found.running_in_project, flow, *clocks, found.are_limits_set)


def charge_start(
    session: Session, database: Database, study: StudyRow, start: Start, gpu_seconds: float, at: float | None
) -> None:
    """Charge a locked study and its project with a trial that was just handed out, at the instant `at`."""
    charged = Flow(study.priority, study.weight, study.virtual_time).charged(
        start.study_clock, gpu_seconds, start.running
    )
    study.virtual_time, study.virtual_start, study.served_at = charged.virtual_time, charged.virtual_start, at
    charged = start.of_project.charged(start.project_clock, gpu_seconds, start.running_in_project)
    shares.start_project(database, session, study.project, charged.virtual_start, gpu_seconds / start.of_project.weight)


@cache
def _start() -> Select[*tuple[Any, ...]]:
    """Build the query of `start_of`."""
    name, other = bindparam("project", type_=String()), aliased(ProjectRow)
    runs = (
        select(func.count())
        .select_from(AssignmentRow)
        .where(AssignmentRow.state == TrialState.RUNNING, AssignmentRow.kind.in_(TRAINING))
    )
    own = select(ProjectRow.priority).where(ProjectRow.name == name).scalar_subquery()
    of_studies = select(func.max(StudyRow.virtual_start))
    of_studies = of_studies.where(StudyRow.project == name, StudyRow.priority == bindparam("priority"))
    of_projects = select(func.max(ShareRow.virtual_start)).outerjoin(other, other.name == ShareRow.project)
    of_projects = of_projects.where(func.coalesce(other.priority, 0) == func.coalesce(own, 0))
    columns = {
        "running": runs.where(AssignmentRow.study_id == bindparam("study_id")),
        "running_in_project": runs.join(StudyRow).where(StudyRow.project == name),
        "priority": select(ProjectRow.priority).where(ProjectRow.name == name),
        "weight": select(ProjectRow.weight).where(ProjectRow.name == name),
        "virtual_time": select(ShareRow.virtual_time).where(ShareRow.project == name),
        "study_clock": of_studies,
        "project_clock": of_projects,
    }
    scalars = [query.scalar_subquery().label(column) for column, query in columns.items()]
    return select(*scalars, limits.are_set().label("are_limits_set"))


def _projects(session: Session, names: set[str]) -> dict[str, Flow]:
    """Return projects by their names, as they share; one without rows has the defaults."""
    settings = select(ProjectRow.name, ProjectRow.priority, ProjectRow.weight).where(ProjectRow.name.in_(names))
    told = {name: (priority, weight) for name, priority, weight in session.execute(settings)}
    columns = (ShareRow.project, ShareRow.virtual_time, ShareRow.virtual_start)
    charged = {
        name: (time, start)
        for name, time, start in session.execute(select(*columns).where(ShareRow.project.in_(names)))
    }
    return {name: Flow(*told.get(name, (0, 1.0)), *charged.get(name, (0.0, 0.0))) for name in names}
