"""A study's budget: how much of it the trials have used, and the limit that is reached.

Called by `transitions.settle` and by claims. Nothing is changed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from luthier.service.lifecycle import going_on, patience, winner
from luthier.service.storage.believable import gpu_seconds
from luthier.service.storage.database import Database
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind, StudyState, TrialState
from luthier.studies.spec import is_better


@dataclass(frozen=True)
class TrialCounts:
    """A study's trials by state, and the GPU seconds that they used.

    Attributes:
        states: state -> number of trials, without those that a user deleted.
        gpu_seconds: of all trials: those of deleted ones were spent, too.
        taken: how many of `states` were taken over whole: another study has run them.
        next_number: the number of the next trial. Numbers of deleted trials are never given again.
    """

    states: Mapping[str, int]
    gpu_seconds: float
    next_number: int
    taken: int = 0

    @classmethod
    def of(cls, session: Session, study_id: int) -> "TrialCounts":
        """Count a study's trials; repetitions and other kinds of work are left out."""
        rows = session.execute(_by_state(), {"study_id": study_id}).all()
        states = {state: count for state, deleted, count, *_ in rows if not deleted}
        return cls(
            states,
            gpu_seconds=sum(seconds for *_, seconds, _ in rows),
            taken=sum(taken for _, deleted, *_, taken in rows if not deleted),
            next_number=sum(count for _, _, count, *_ in rows),
        )

    def __getitem__(self, state: TrialState) -> int:
        """Return the number of trials in a state."""
        return self.states.get(state, 0)

    @property
    def total(self) -> int:
        """The number of trials in any state, as the budget counts them: a deleted one makes room for another."""
        return sum(self.states.values())

    @property
    def spent(self) -> int:
        """The number of trials that the budget pays for: all but those that another study has run."""
        return self.total - self.taken

    @property
    def active(self) -> int:
        """The number of trials that have not ended."""
        return self[TrialState.QUEUED] + self[TrialState.RUNNING]


@cache
def _by_state() -> Select[str, bool, int, float, int]:
    """Build the query of `TrialCounts.of`; it is kept, as each claim and each report needs it."""
    columns = (AssignmentRow.state, AssignmentRow.deleted)
    return (
        select(*columns, func.count(), func.sum(gpu_seconds()), func.count(AssignmentRow.taken_from))
        .where(AssignmentRow.study_id == bindparam("study_id"), AssignmentRow.kind == AssignmentKind.TRAIN)
        .group_by(*columns)
    )


@dataclass(frozen=True)
class Limit:
    """A limit of the budget that a study has reached, and how the study ends for it.

    Attributes:
        state: the state it will end in.
        message: the sentence for its user.
        stop_at_next_evaluation: running trials end at their next evaluation; False: they train to their end.
        error: the sentence again, where the study fails.
        is_of_trials: all trials were drawn, and none runs; paused ones may go on.
    """

    state: StudyState
    message: str
    stop_at_next_evaluation: bool = True
    error: str | None = None
    is_of_trials: bool = False


def find_limit(session: Session, database: Database, study: StudyRow, counts: TrialCounts) -> Limit | None:
    """Return the limit of the budget that the study has reached; the first of several, in the order below."""
    budget = study.spec.budget
    failures = counts[TrialState.FAILED]
    if budget.failures is not None and failures >= budget.failures:
        message = f"{failures} trials failed, which is the budget's limit."
        return Limit(StudyState.FAILED, message, error=message)
    if budget.target is not None:
        best = winner.best_trial(session, study)
        if best is not None and reaches(best, budget.target, study.spec.maximize):
            return Limit(StudyState.COMPLETED, f"Trial {best.number} reached the target {budget.target:g}.")
    limit = budget.wall_clock_seconds
    if limit is not None and wall_clock_seconds(study, database.time(session)) >= limit:
        return Limit(StudyState.COMPLETED, f"The {limit:g} seconds of wall-clock time are used up.")
    if budget.gpu_seconds is not None and counts.gpu_seconds >= budget.gpu_seconds:
        return Limit(StudyState.COMPLETED, f"The {budget.gpu_seconds:g} GPU seconds are used up.")
    if budget.trials is not None and counts.spent >= budget.trials and not counts.active:
        message = f"All {budget.trials} trials of the budget are done."
        return Limit(StudyState.COMPLETED, message, stop_at_next_evaluation=False, is_of_trials=True)
    row = patience.row_that_is_over(session, study)
    if row is not None:
        message = f"{row.length} trials in a row had no better score than trial {row.best}: the patience is over."
        return Limit(StudyState.COMPLETED, message, stop_at_next_evaluation=False)
    gain = going_on.too_small_gain(session, study)
    if gain is not None:
        message = f"The rest of the budget is expected to gain {gain:.3g}, less than {budget.expected_gain:g}."
        return Limit(StudyState.COMPLETED, message, stop_at_next_evaluation=False)
    return None


def wall_clock_seconds(study: StudyRow, now: float) -> float:
    """Return the time since a study's first trial, in seconds, without that between its ends and its extensions."""
    return 0.0 if study.started_at is None else now - study.started_at - study.idle_seconds


def reaches(trial: AssignmentRow, target: float, maximize: bool) -> bool:
    """Return whether a trial's score is as good as a target."""
    return trial.value is not None and not is_better(target, trial.value, maximize)
