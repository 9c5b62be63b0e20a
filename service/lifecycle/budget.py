"""A study's budget: how much of it the trials have used, and the limit that is reached.

Called by `transitions.settle` and by claims. Nothing is changed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.lifecycle import winner
from luthier.service.storage.believable import busy_seconds
from luthier.service.storage.database import Database
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind, StudyState, TrialState
from luthier.studies.spec import is_better


@dataclass(frozen=True)
class TrialCounts:
    """A study's trials by state, and the seconds that workers were busy with them.

    Attributes:
        states: state -> number of trials, without those that a user deleted.
        busy_seconds: of all trials: the time of deleted ones was spent, too.
        next_number: the number of the next trial. Numbers of deleted trials are never given again.
    """

    states: Mapping[str, int]
    busy_seconds: float
    next_number: int

    @classmethod
    def of(cls, session: Session, study_id: int) -> "TrialCounts":
        """Count a study's trials; repetitions and other kinds of work are left out."""
        by_state = (
            select(AssignmentRow.state, AssignmentRow.deleted, func.count(), func.sum(busy_seconds()))
            .where(AssignmentRow.study_id == study_id, AssignmentRow.kind == AssignmentKind.TRAIN)
            .group_by(AssignmentRow.state, AssignmentRow.deleted)
        )
        rows = session.execute(by_state).all()
        states = {state: count for state, deleted, count, _ in rows if not deleted}
        return cls(states, sum(seconds for *_, seconds in rows), sum(count for _, _, count, _ in rows))

    def __getitem__(self, state: TrialState) -> int:
        """Return the number of trials in a state."""
        return self.states.get(state, 0)

    @property
    def total(self) -> int:
        """The number of trials in any state, as the budget counts them: a deleted one makes room for another."""
        return sum(self.states.values())

    @property
    def active(self) -> int:
        """The number of trials that have not ended."""
        return self[TrialState.QUEUED] + self[TrialState.RUNNING]


@dataclass(frozen=True)
class Limit:
    """A limit of the budget that a study has reached, and how the study ends for it.

    Attributes:
        state: the state it will end in.
        message: the sentence for its user.
        stop_at_next_evaluation: running trials end at their next evaluation; False: they train to their end.
        error: the sentence again, where the study fails.
    """

    state: StudyState
    message: str
    stop_at_next_evaluation: bool = True
    error: str | None = None


def find_limit(session: Session, database: Database, study: StudyRow, counts: TrialCounts) -> Limit | None:
    """Return the limit of the budget that the study has reached; the first of several, in the order below."""
    budget = study.spec.budget
    failures = counts[TrialState.FAILED]
    if budget.failures is not None and failures >= budget.failures:
        message = f"{failures} trials failed, which is the budget's limit."
        return Limit(StudyState.FAILED, message, error=message)
    if budget.target is not None:
        best = winner.best_trial(session, study)
        if best is not None and _reaches(best, budget.target, study.spec.maximize):
            return Limit(StudyState.COMPLETED, f"Trial {best.number} reached the target {budget.target:g}.")
    limit = budget.wall_clock_seconds
    if limit is not None and study.started_at is not None and database.time(session) - study.started_at >= limit:
        return Limit(StudyState.COMPLETED, f"The {limit:g} seconds of wall-clock time are used up.")
    if budget.gpu_seconds is not None and counts.busy_seconds >= budget.gpu_seconds:
        return Limit(StudyState.COMPLETED, f"The {budget.gpu_seconds:g} GPU seconds are used up.")
    if budget.trials is not None and counts.total >= budget.trials and not counts.active:
        message = f"All {budget.trials} trials of the budget are done."
        return Limit(StudyState.COMPLETED, message, stop_at_next_evaluation=False)
    return None


def _reaches(trial: AssignmentRow, target: float, maximize: bool) -> bool:
    return trial.value is not None and not is_better(target, trial.value, maximize)
