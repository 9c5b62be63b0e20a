"""Retraining: a trial whose weights are damaged is trained again from its seed, before it can win.

`winner.py` calls it when it has chosen a winner, dispatch when a worker finds the weights damaged. A trial is a
function of its configuration and its seed, so that the same weights come out. A retraining is a repetition (kind
confirm) with a negative number, which no trial's budget counts. The caller holds the study's row.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.storage.leases import Leases
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind, Reason, TrialState

MOST_TRIALS = 3  # trials that may turn out to have no weights before the study fails


def find(session: Session, source: AssignmentRow) -> AssignmentRow | None:
    """Return the retraining of a trial or repetition; None before it is queued."""
    return session.scalar(
        select(AssignmentRow).where(
            AssignmentRow.study_id == source.study_id,
            AssignmentRow.kind == AssignmentKind.CONFIRM,
            AssignmentRow.number == _number(source),
        )
    )


def queue(session: Session, leases: Leases, study: StudyRow, source: AssignmentRow) -> None:
    """Queue the retraining of a trial or repetition of a locked study."""
    now = leases.database.time(session)
    leases.queue(session, study, AssignmentKind.CONFIRM, _number(source), source.params, source.seed, now)


def forget_weights(study: StudyRow, source: AssignmentRow) -> None:
    """Let a locked study, whose winner's weights (those of `source`) are damaged, choose its winner again."""
    source.best = None
    study.winner = study.winner_confirmation = None


def forget_failed(session: Session, leases: Leases, study: StudyRow) -> None:
    """Remove the retrainings of a locked study that left no weights, so that they may be queued again."""
    leases.remove_ended(session, *_of(study.id), AssignmentRow.best.is_(None))


def with_weights(session: Session, study_id: int) -> list[AssignmentRow]:
    """Return the retrainings of a study that have weights."""
    return list(session.scalars(select(AssignmentRow).where(*_of(study_id), AssignmentRow.best.is_not(None))))


def is_done(session: Session, row: AssignmentRow, step: int) -> bool:
    """Return whether a retraining has come to the evaluation at which the study's time, or a user, ended the trial."""
    if row.kind != AssignmentKind.CONFIRM or row.number >= 0:
        return False
    kind, number = _source(row.number)
    source = session.scalar(
        select(AssignmentRow).where(
            AssignmentRow.study_id == row.study_id, AssignmentRow.kind == kind, AssignmentRow.number == number
        )
    )
    return source is not None and source.reason in (Reason.BUDGET, Reason.STOPPED) and step >= source.step


def has_weights(row: AssignmentRow | None) -> bool:
    """Return whether an assignment has ended with weights."""
    return row is not None and row.best is not None and row.state == TrialState.COMPLETE


def _of(study_id: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for a study's retrainings."""
    return (
        AssignmentRow.study_id == study_id,
        AssignmentRow.kind == AssignmentKind.CONFIRM,
        AssignmentRow.number < 0,
    )


def _number(source: AssignmentRow) -> int:
    """Return the number of the retraining of a trial (odd) or a repetition (even)."""
    return -(2 * source.number + (1 if source.kind == AssignmentKind.TRAIN else 2))


def _source(number: int) -> tuple[AssignmentKind, int]:
    """Return the kind and number of what a retraining trains again."""
    if number % 2:
        return AssignmentKind.TRAIN, (-number - 1) // 2
    return AssignmentKind.CONFIRM, (-number - 2) // 2
