"""A study's best configurations, trained again on fresh seeds before one of them wins (`confirm` in the spec).

The winner is the configuration with the best mean over its repetitions, since the score that made it a candidate was
the best of many, and partly luck. The weights that are kept are those of its repetition with the best score.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind, TrialState


@dataclass(frozen=True)
class Candidate:
    """A trial and its repetitions, in their order."""

    trial: AssignmentRow
    again: Sequence[AssignmentRow]

    @property
    def values(self) -> list[float]:
        """The scores of the repetitions that ran to their end."""
        return [row.value for row in self.again if row.state == TrialState.COMPLETE and row.value is not None]

    def best(self, maximize: bool) -> AssignmentRow | None:
        """The repetition with the best score; of equals the earliest."""
        sign = 1 if maximize else -1
        done = [row for row in self.again if row.state == TrialState.COMPLETE and row.best is not None]
        return max(done, key=lambda row: (sign * (row.value or 0.0), -row.number), default=None)


def ranked(session: Session, study: StudyRow, limit: int) -> list[AssignmentRow]:
    """The complete trials with the best values, best first; of equals the earlier."""
    value = AssignmentRow.value.desc() if study.spec.maximize else AssignmentRow.value.asc()
    complete = (
        AssignmentRow.kind == AssignmentKind.TRAIN,
        AssignmentRow.state == TrialState.COMPLETE,
        AssignmentRow.value.is_not(None),
    )
    found = (
        select(AssignmentRow)
        .where(AssignmentRow.study_id == study.id, *complete)
        .order_by(value, AssignmentRow.number)
        .limit(limit)
    )
    return list(session.scalars(found))


def candidates(session: Session, study: StudyRow) -> list[Candidate]:
    """The candidates, best trial first. Once nothing is drawn any more they stay the same."""
    wanted = study.spec.confirm
    if wanted is None:
        return []
    repetitions = (
        select(AssignmentRow)
        .where(AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.CONFIRM)
        .order_by(AssignmentRow.number)
    )
    rows = {row.number: row for row in session.scalars(repetitions)}
    return [
        Candidate(trial, [rows[n] for n in range(rank * wanted.seeds, (rank + 1) * wanted.seeds) if n in rows])
        for rank, trial in enumerate(ranked(session, study, wanted.candidates))
    ]


def pick(candidates: Sequence[Candidate], maximize: bool) -> tuple[Candidate, AssignmentRow] | None:
    """The candidate with the best mean, and its repetition whose weights are kept; None where none has a score.

    One with a repetition that diverged or failed comes after those without.
    """
    found: tuple[Candidate, AssignmentRow] | None = None
    rank = (False, -math.inf)
    for candidate in candidates:
        best = candidate.best(maximize)
        if best is None:
            continue
        mean = fmean(candidate.values) * (1 if maximize else -1)
        its = (len(candidate.values) == len(candidate.again), mean)
        if its > rank:
            found, rank = (candidate, best), its
    return found
