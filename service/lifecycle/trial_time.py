"""The time of a trial: whether it has used up `budget.trial_seconds`, and what becomes of it then.

Reports and outcomes ask. The worker's own clock ends the trial; here it is told so once more, and its end is judged.
"""

from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import TRAINING, Outcome, Reason
from luthier.studies.semantics import ENDS_IN_TIME


def note(row: AssignmentRow, timed_seconds: float | None) -> None:
    """Note in a locked row what its worker says that all attempts have used; it never gets less."""
    if timed_seconds is not None and timed_seconds > row.timed_seconds:
        row.timed_seconds = timed_seconds


def is_over(study: StudyRow, row: AssignmentRow) -> bool:
    """Return whether a trial, or a repetition, has used up its time."""
    limit = study.spec.budget.trial_seconds
    counts = study.spec.semantics >= ENDS_IN_TIME and row.kind in TRAINING
    return counts and limit is not None and row.timed_seconds >= limit


def judged(study: StudyRow, row: AssignmentRow, outcome: Outcome) -> Outcome:
    """Return the outcome of a locked row: complete, where its time was over and it has a score; else as it is.

    The reason is then `timeout`, unless the study's own time is over too.
    """
    if study.spec.semantics < ENDS_IN_TIME or row.kind not in TRAINING or row.value is None:
        return outcome
    if outcome.status == "failed" and outcome.reason is Reason.TIMEOUT:
        return outcome.model_copy(update={"status": "complete", "problem": None})
    asked = study.stop_at_next_evaluation or row.stop_requested
    if outcome.reason is Reason.BUDGET and not asked and is_over(study, row):
        return outcome.model_copy(update={"reason": Reason.TIMEOUT})
    return outcome
