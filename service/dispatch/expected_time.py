"""The time that a study's next trial is expected to take; limits on GPU seconds and fair shares count with it.

Claims call it, and whoever tells how long a study waits. In this order: the longest of the latest trials of the study;
the inspection's estimate, by epochs; the limit on a trial's time. Never more than that limit. What the cost model
(`studies/trial_costs.py`) says of a cheaper configuration is a guess, and a reservation must not be too small.
"""

from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from luthier.service.storage.believable import busy_seconds
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import AssignmentKind, TrialState
from luthier.studies.results import Inspection

LATEST_TRIALS = 50  # of a study
MEASURED = (TrialState.COMPLETE, TrialState.PRUNED)


def expected_seconds(session: Session, study: StudyRow, params: dict[str, Any] | None) -> float | None:
    """Return the busy seconds that an attempt at a trial of a study is expected to take; None for unknown.

    Args:
        session: the caller's transaction.
        study: its row, inspected.
        params: the trial's configuration; None: any of the study.
    """
    limit = study.spec.budget.trial_seconds
    expected = _measured(session, study)
    if expected is None:
        expected = _estimated(study, params)
    if limit is not None:
        return limit if expected is None else min(limit, expected)
    return expected


def _measured(session: Session, study: StudyRow) -> float | None:
    """Return the time of the longest of a study's latest trials; None before one has ended."""
    latest = session.scalars(_latest(), {"study_id": study.id})
    return max((seconds for seconds in latest if seconds > 0), default=None)


@cache
def _latest() -> Select[float]:
    """Build the query of the times of a study's latest trials; it is kept, as each claim needs it."""
    return (
        select(busy_seconds())
        .where(
            AssignmentRow.study_id == bindparam("study_id"),
            AssignmentRow.kind == AssignmentKind.TRAIN,
            AssignmentRow.state.in_(MEASURED),
            AssignmentRow.taken_from.is_(None),
        )
        .order_by(AssignmentRow.number.desc())
        .limit(LATEST_TRIALS)
    )


def _estimated(study: StudyRow, params: dict[str, Any] | None) -> float | None:
    """Return the inspection's estimate, which is of the baseline, for the epochs of a trial."""
    estimates = study.inspection.estimates if isinstance(study.inspection, Inspection) else None
    if estimates is None or study.external:
        return None
    baseline = complete({}, study.spec.task_info.baseline)
    if params is None:
        epochs = study.spec.max_steps / study.spec.evaluations_per_epoch
    else:
        epochs = float(complete(params, study.spec.task_info.baseline)["epochs"])
    return estimates.seconds_per_trial * max(epochs, 1.0) / max(float(baseline["epochs"]), 1.0)
