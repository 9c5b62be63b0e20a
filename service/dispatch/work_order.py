"""The order of work: which studies could start a trial now, and whose turn it is, read from rows.

`claims.py` asks at each claim; `fair_share.py` decides. A claim takes the first study that has work for its worker: one
that is passed over, as there is no room for it on this GPU, keeps its place. Nothing is locked here.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
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
    working = (
        select(
            StudyRow.id,
            StudyRow.project,
            StudyRow.owner,
            StudyRow.parallel,
            (StudyRow.state == StudyState.RUNNING) & StudyRow.ending.is_(None),
            StudyRow.priority,
            StudyRow.weight,
            StudyRow.virtual_time,
            func.coalesce(StudyRow.served_at, StudyRow.created_at),
        )
        .where(StudyRow.state.in_(WORKING), ~StudyRow.external, ~StudyRow.transient)
        .order_by(StudyRow.id)
    )
    if only is not None:
        working = working.where(is_only(only))
    studies = session.execute(working).all()
    if not studies:
        return Order()
    running, queued = _counts(session)
    full = {(limit.who, limit.name) for limit in limits.full(session, database)}
    ready = [
        study
        for study in studies
        if running.get(study[0], 0) < study[3]
        and (study[4] or queued.get(study[0]))
        and not full & {("project", study[1]), ("owner", study[2])}
    ]
    has_queued = frozenset(study_id for study_id, count in queued.items() if count)
    if len(ready) <= 1:  # there is nobody to share with
        alone = [Candidate(study[0], study[1], Flow(), Flow()) for study in ready]
        return Order(alone, has_queued)
    projects = _projects(session, {study[1] for study in ready})
    candidates = [
        Candidate(
            study_id,
            project,
            projects[project],
            Flow(priority, weight, virtual_time),
            waits_since,
        )
        for study_id, project, _, _, _, priority, weight, virtual_time, waits_since in ready
    ]
    held = held_back(candidates)
    owed = session.scalar(select(ShareRow.owed).where(ShareRow.project == FLEET)) if held else None
    return Order(in_order(candidates, owed or 0.0, turns), has_queued, held)


def of_others(session: Session, order: Order, projects: Collection[str]) -> Order:
    """Return the order without the studies of some projects, and those of a lower priority than all of these."""
    if not projects or all(candidate.project in projects for candidate in order.candidates):
        return Order()
    flows = _projects(session, {*projects, *(candidate.project for candidate in order.candidates)})
    least = min(flows[name].priority for name in projects)
    others = [one for one in order.candidates if one.project not in projects and flows[one.project].priority >= least]
    return Order(others, order.queued, order.held)


def charge_start(session: Session, database: Database, study: StudyRow, gpu_seconds: float, at: float | None) -> None:
    """Charge a locked study and its project with a trial that was just handed out, at the instant `at`."""
    own = func.count().filter(AssignmentRow.study_id == study.id)
    runs = select(own, func.count()).select_from(AssignmentRow).join(StudyRow)
    runs = runs.where(AssignmentRow.state == TrialState.RUNNING, AssignmentRow.kind.in_(TRAINING))
    in_study, in_project = session.execute(runs.where(StudyRow.project == study.project)).one()
    of_project, study_clock, project_clock = _clocks(session, study)
    charged = Flow(study.priority, study.weight, study.virtual_time).charged(study_clock, gpu_seconds, in_study - 1)
    study.virtual_time, study.virtual_start, study.served_at = charged.virtual_time, charged.virtual_start, at
    charged = of_project.charged(project_clock, gpu_seconds, in_project - 1)
    shares.start_project(database, session, study.project, charged.virtual_start, gpu_seconds / of_project.weight)


def _clocks(session: Session, study: StudyRow) -> tuple[Flow, float, float]:
    """Return a study's project, as it shares; the clock of the study, and that of the project; in one query."""
    other = aliased(ProjectRow)
    own = select(ProjectRow.priority).where(ProjectRow.name == study.project).scalar_subquery()
    weight = select(ProjectRow.weight).where(ProjectRow.name == study.project).scalar_subquery()
    charged = select(ShareRow.virtual_time).where(ShareRow.project == study.project).scalar_subquery()
    of_studies = select(func.max(StudyRow.virtual_start))
    of_studies = of_studies.where(StudyRow.project == study.project, StudyRow.priority == study.priority)
    of_projects = select(func.max(ShareRow.virtual_start)).outerjoin(other, other.name == ShareRow.project)
    of_projects = of_projects.where(func.coalesce(other.priority, 0) == func.coalesce(own, 0))
    columns = (own, weight, charged, of_studies.scalar_subquery(), of_projects.scalar_subquery())
    priority, share, virtual_time, study_clock, project_clock = session.execute(select(*columns)).one()
    flow = Flow(priority or 0, share or 1.0, virtual_time or 0.0)
    return flow, study_clock or 0.0, project_clock or 0.0


def _counts(session: Session) -> tuple[dict[int, int], dict[int, int]]:
    """Return study id -> number of its trials and repetitions that run, and that are queued."""
    active = (
        select(AssignmentRow.study_id, AssignmentRow.state, func.count())
        .where(AssignmentRow.state.in_((TrialState.QUEUED, TrialState.RUNNING)), AssignmentRow.kind.in_(TRAINING))
        .group_by(AssignmentRow.study_id, AssignmentRow.state)
    )
    counts: dict[str, dict[int, int]] = {TrialState.RUNNING: {}, TrialState.QUEUED: {}}
    for study_id, state, count in session.execute(active):
        counts[state][study_id] = count
    return counts[TrialState.RUNNING], counts[TrialState.QUEUED]


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
