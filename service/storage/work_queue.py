"""Queries on the queue of assignments: which come next, how many there are, and whether a study is at work.

Called by `service/dispatch/claims.py`, and for claims that wait. Nothing is changed here; `leases.py` does that.
"""

import sys
from collections import Counter
from collections.abc import Collection
from enum import StrEnum
from functools import lru_cache

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, aliased

from luthier.service.caller import DEFAULT_PROJECT
from luthier.service.storage import limits
from luthier.service.storage.column_types import Unreadable
from luthier.service.storage.database import database_of
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import TRAINING, AssignmentKind, StudyState, TrialState

CONSIDERED = 20  # queued assignments that one claim looks at: there may be no GPU memory for the first ones
WORKING = (StudyState.QUEUED, StudyState.RUNNING, StudyState.STOPPING)


def is_only(name: str) -> ColumnElement[bool]:
    """Return the condition that a study is the one that an embedded service runs; it works in `default`."""
    return (StudyRow.name == name) & (StudyRow.project == DEFAULT_PROJECT)


class Part(StrEnum):
    """A part of the queue."""

    URGENT = "urgent"  # all but trials and repetitions, and those of them that were begun before: they go first
    NEW = "new"  # trials and repetitions that no worker has begun
    EXTERNAL = "external"  # all work of external studies


@lru_cache(maxsize=8)
def _queued(only: str | None, part: Part) -> Select[AssignmentRow]:
    """Build the query of `list_queued`; it is cached, as each idle worker needs it every second."""
    other = aliased(AssignmentRow)
    running = (
        select(func.count(other.id))
        .where(other.study_id == StudyRow.id, other.kind.in_(TRAINING), other.state == TrialState.RUNNING)
        .correlate(StudyRow)
        .scalar_subquery()
    )
    queued = (
        select(AssignmentRow)
        .join(StudyRow)
        .where(AssignmentRow.state == TrialState.QUEUED, StudyRow.external.is_(part is Part.EXTERNAL))
        .where(StudyRow.state != StudyState.PAUSED)
        .where(StudyRow.state.in_(WORKING) & (running < StudyRow.parallel) | AssignmentRow.kind.not_in(TRAINING))
        .order_by(AssignmentRow.kind.in_(TRAINING), AssignmentRow.kind != AssignmentKind.INSPECT, AssignmentRow.id)
        .limit(CONSIDERED)
    )
    is_begun = AssignmentRow.kind.not_in(TRAINING) | (AssignmentRow.attempt > 0)
    if part is not Part.EXTERNAL:
        queued = queued.where(is_begun if part is Part.URGENT else ~is_begun)
    return queued if only is None else queued.where(is_only(only) | StudyRow.transient)


def list_queued(
    session: Session,
    part: Part,
    only: str | None = None,
    without: Collection[int] = (),
    study_id: int | None = None,
    left: Collection[int] = (),
    without_projects: Collection[str] = (),
) -> list[AssignmentRow]:
    """Return the assignments to hand out next: the most urgent kind first, then the oldest. No row is locked.

    All work is left out while its study is paused, trials and repetitions also while it runs `parallel` of them.

    Args:
        session: the caller's transaction.
        part: of the queue.
        only: name of the one study to consider, beside plans; None: all studies.
        without: ids of studies to leave out.
        study_id: of the one study to look at; None: all.
        left: ids of assignments to leave out.
        without_projects: names of projects to leave out.
    """
    queued = _queued(only, part)
    if study_id is not None:
        queued = queued.where(AssignmentRow.study_id == study_id)
    if left:
        queued = queued.where(AssignmentRow.id.not_in(left))
    if without_projects:
        queued = queued.where(StudyRow.project.not_in(without_projects))
    return list(session.scalars(queued.where(AssignmentRow.study_id.not_in(without)) if without else queued))


def count_work(session: Session, only: str | None = None) -> int:
    """Return how many assignments workers could get now, at most: queued ones, and trials that are not drawn yet.

    One look for all workers that wait, so it reads little. It leaves out what a claim sees for itself: the room on a
    GPU, and limits of a budget other than its number of trials.

    Args:
        session: the caller's transaction.
        only: name of the one study to consider, beside plans; None: all studies.
    """
    by = (AssignmentRow.study_id, AssignmentRow.kind, AssignmentRow.state)
    active = select(*by, func.count()).where(AssignmentRow.state.in_((TrialState.QUEUED, TrialState.RUNNING)))
    active = active.group_by(*by).join(StudyRow)
    active = active.where(StudyRow.state != StudyState.PAUSED, ~StudyRow.external)
    if only is not None:
        active = active.where(is_only(only) | StudyRow.transient)
    work, waiting, running = 0, Counter[int](), Counter[int]()  # trials and repetitions, by study
    for study_id, kind, state, count in session.execute(active):
        if kind in TRAINING:
            (waiting if state == TrialState.QUEUED else running)[study_id] += count
        elif state == TrialState.QUEUED:
            work += count
    full = {(limit.who, limit.name) for limit in limits.full(session, database_of(session))}
    columns = (StudyRow.id, StudyRow.parallel, StudyRow.state, StudyRow.ending, StudyRow.project, StudyRow.owner)
    studies = select(*columns)
    studies = studies.where(StudyRow.state.in_(WORKING), ~StudyRow.external)
    if only is not None:
        studies = studies.where(is_only(only))
    for study_id, parallel, state, ending, project, owner in session.execute(studies).all():
        if full & {("project", project), ("owner", owner)}:
            continue
        free = max(0, parallel - running[study_id])
        if free and not waiting[study_id] and state == StudyState.RUNNING and ending is None:
            work += min(free, _undrawn(session, study_id))
        work += min(free, waiting[study_id])
    return work


def _undrawn(session: Session, study_id: int) -> int:
    """Return how many trials of a study's budget have not been drawn yet; without such a limit, many."""
    trials = select(func.count(), func.count(AssignmentRow.taken_from)).where(
        AssignmentRow.study_id == study_id, AssignmentRow.kind == AssignmentKind.TRAIN, ~AssignmentRow.deleted
    )
    spec = session.scalar(select(StudyRow.spec).where(StudyRow.id == study_id))
    count, taken = session.execute(trials).one()
    if isinstance(spec, Unreadable):
        return 0  # no trial of it is drawn
    if spec is None or spec.budget.trials is None:
        return sys.maxsize
    return spec.budget.trials - (int(count) - int(taken))


def lock_working(session: Session, study_id: int) -> bool:
    """Lock the study's row, read it again, and return whether its trials may run.

    The lock lasts until the transaction ends, so that two claims cannot both take the last of `parallel` slots. Call
    it before the assignment's row is locked.
    """
    statement = select(StudyRow).where(StudyRow.id == study_id).with_for_update()
    study = session.scalar(statement, execution_options={"populate_existing": True})
    return study is not None and study.state in WORKING
