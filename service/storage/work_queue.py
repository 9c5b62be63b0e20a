"""Queries on the queue of assignments: which come next, and whether a study has a free slot.

Called by `service/dispatch/claims.py`. Nothing is changed here; `leases.py` does that.
"""

from functools import lru_cache

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, aliased

from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import TRAINING, AssignmentKind, StudyState, TrialState

CONSIDERED = 20  # queued assignments that one claim looks at: there may be no GPU memory for the first ones
WORKING = (StudyState.QUEUED, StudyState.RUNNING, StudyState.STOPPING)


@lru_cache(maxsize=8)
def _queued(only: str | None) -> Select[AssignmentRow]:
    """Build the query of `queued`; it is cached, as each idle worker needs it every second."""
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
        .where(AssignmentRow.state == TrialState.QUEUED)
        .where(StudyRow.state.in_(WORKING) & (running < StudyRow.parallel) | AssignmentRow.kind.not_in(TRAINING))
        .order_by(AssignmentRow.kind.in_(TRAINING), AssignmentRow.kind != AssignmentKind.INSPECT, AssignmentRow.id)
        .limit(CONSIDERED)
    )
    return queued if only is None else queued.where((StudyRow.name == only) | StudyRow.transient)


def list_queued(session: Session, only: str | None = None) -> list[AssignmentRow]:
    """Return the assignments to hand out next: the most urgent kind first, then the oldest. No row is locked.

    Trials and repetitions are left out while their study is paused or runs `parallel` of them.

    Args:
        session: the caller's transaction.
        only: name of the one study to consider, beside plans; None: all studies.
    """
    return list(session.scalars(_queued(only)))


def has_free_slot(session: Session, study_id: int) -> bool:
    """Lock the study's row, and return whether one more of its trials may run now.

    The lock lasts until the transaction ends, so that two claims cannot both take the last of `parallel` slots. Call
    it before the assignment's row is locked.
    """
    statement = select(StudyRow).where(StudyRow.id == study_id).with_for_update()
    study = session.scalar(statement, execution_options={"populate_existing": True})
    if study is None or study.state not in WORKING:
        return False
    running = select(func.count()).where(
        AssignmentRow.study_id == study_id,
        AssignmentRow.kind.in_(TRAINING),
        AssignmentRow.state == TrialState.RUNNING,
    )
    return (session.scalar(running) or 0) < study.parallel
