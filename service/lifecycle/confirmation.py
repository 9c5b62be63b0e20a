"""Confirmation: the best configurations of a study are trained again on fresh seeds before one wins.

`winner.py` calls it, and views that show the repetitions; the spec asks for it with `confirm`. The winner is the
configuration with the best mean over its repetitions, since the score that made it a candidate was the best of many,
and partly luck. The weights that are kept are those of its repetition with the best score. Nothing is changed here.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.storage.believable import is_score
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind, TrialState
from luthier.studies.spec import StudySpec, trial_seed


@dataclass(frozen=True)
class Candidate:
    """A trial and its repetitions, in the order of their numbers."""

    trial: AssignmentRow
    repetitions: Sequence[AssignmentRow]

    @property
    def values(self) -> list[float]:
        """The scores of the repetitions that ran to their end."""
        return [row.value for row in self.repetitions if row.state == TrialState.COMPLETE and row.value is not None]

    def best_repetition(self, maximize: bool) -> AssignmentRow | None:
        """Return the complete repetition with the best score, the earliest of equals; None where none has a score."""
        sign = 1 if maximize else -1
        complete = [row for row in self.repetitions if row.state == TrialState.COMPLETE and row.value is not None]
        return max(complete, key=lambda row: (sign * (row.value or 0.0), -row.number), default=None)


def best_trials(session: Session, study: StudyRow, limit: int) -> list[AssignmentRow]:
    """Return at most `limit` complete trials with the best values, best first; of equals the earlier first."""
    value = AssignmentRow.value.desc() if study.spec.maximize else AssignmentRow.value.asc()
    statement = select(AssignmentRow).where(
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind == AssignmentKind.TRAIN,
        AssignmentRow.state == TrialState.COMPLETE,
        is_score(AssignmentRow.value),
    )
    return list(session.scalars(statement.order_by(value, AssignmentRow.number).limit(limit)))


def candidates(session: Session, study: StudyRow) -> list[Candidate]:
    """Return the candidates, best trial first; none where the spec asks for no confirmation.

    They stay the same once no trial of the study runs any more, until it is extended.
    """
    confirm = study.spec.confirm
    if confirm is None:
        return []
    statement = (
        select(AssignmentRow)
        .where(AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.CONFIRM)
        .order_by(AssignmentRow.number)
    )
    return pair(study.spec, best_trials(session, study, confirm.candidates), session.scalars(statement))


def pair(spec: StudySpec, best: Sequence[AssignmentRow], repetitions: Iterable[AssignmentRow]) -> list[Candidate]:
    """Return a study's candidates, each with its repetitions; none where the spec asks for no confirmation.

    Args:
        spec: the study's spec.
        best: its best trials, best first, as many as there are candidates or more.
        repetitions: all of its repetitions.
    """
    confirm = spec.confirm
    if confirm is None:
        return []
    rows = {row.seed: row for row in repetitions if row.number >= 0}  # below 0: retrainings
    return [
        Candidate(trial, [rows[seed] for seed in repetition_seeds(spec, trial) if seed in rows])
        for trial in best[: confirm.candidates]
    ]


def repetition_seeds(spec: StudySpec, trial: AssignmentRow) -> list[int]:
    """Return the seeds of a trial's repetitions, which tell them from those of other trials."""
    count = 0 if spec.confirm is None else spec.confirm.seeds
    return [trial_seed(spec.seed, trial.number, again=i + 1) for i in range(count)]


def pick(candidates: Sequence[Candidate], maximize: bool) -> tuple[Candidate, AssignmentRow] | None:
    """Return the candidate with the best mean score, and its repetition with the best score.

    Candidates with a repetition that diverged or failed come after the others. Returns None where no repetition
    has a score.
    """
    picked: tuple[Candidate, AssignmentRow] | None = None
    best_rank = (False, -math.inf)
    for candidate in candidates:
        repetition = candidate.best_repetition(maximize)
        if repetition is None:
            continue
        mean = fmean(candidate.values or [0.0]) * (1 if maximize else -1)
        rank = (len(candidate.values) == len(candidate.repetitions), mean)
        if rank > best_rank:
            picked = (candidate, repetition)
            best_rank = rank
    return picked
