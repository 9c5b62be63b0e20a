"""How many trials of a study in a row have ended without a better score, as `budget.patience` counts them.

`budget.py` asks while a study runs, `extension.py` before it goes on. All of it is counted from rows, so that a crash
and a second service change nothing. Nothing is changed here.
"""

from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from luthier.service.storage.believable import is_score
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind, TrialState

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of trials that patience counts. One that failed or was cancelled says nothing of its configuration; one that
diverged, or did not fit in memory, is pruned and counts."""


@dataclass(frozen=True)
class Row:
    """Trials in a row without a better score.

    Attributes:
        best: the number of the trial whose score none of them has bettered.
        length: how many they are.
    """

    best: int
    length: int


def row_of(session: Session, study: StudyRow) -> Row | None:
    """Return a study's trials that have ended since its best one, in the order of their ends; None before a score.

    Of equal scores the one that came first counts. Trials that another study has run set the score, and are not in
    the row.
    """
    of_study = (AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.TRAIN)
    better = AssignmentRow.value.desc() if study.spec.maximize else AssignmentRow.value.asc()
    complete = (AssignmentRow.state == TrialState.COMPLETE, is_score(AssignmentRow.value))
    order = (better, AssignmentRow.finished_at, AssignmentRow.number)
    columns = select(AssignmentRow.number, AssignmentRow.finished_at)
    best = session.execute(columns.where(*of_study, *complete).order_by(*order).limit(1)).first()
    if best is None:
        return None
    number, finished_at = best
    is_later = or_(
        AssignmentRow.finished_at > finished_at,
        and_(AssignmentRow.finished_at == finished_at, AssignmentRow.number > number),
    )
    own = (AssignmentRow.taken_from.is_(None), AssignmentRow.state.in_(COUNTED), ~AssignmentRow.deleted)
    return Row(number, session.scalar(select(func.count()).where(*of_study, *own, is_later)) or 0)


def row_that_is_over(session: Session, study: StudyRow) -> Row | None:
    """Return a study's row of trials where it is as long as the budget's patience; None where it is not."""
    patience = study.spec.budget.patience
    row = None if patience is None else row_of(session, study)
    return row if row is not None and patience is not None and row.length >= patience else None
