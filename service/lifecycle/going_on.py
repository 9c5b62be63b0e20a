"""The expected gain of going on: how much better studies are expected to become with the rest of their budgets.

Views show it, `budget.py` ends a study by it where its budget says how little is too little. It is computed from rows
alone, so that a crash and a second service change nothing; of time that is left only what was left at the last end of a
trial counts. The estimate itself is in `studies/expected_gain.py`. Nothing is changed here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from luthier.service.lifecycle.patience import COUNTED
from luthier.service.lifecycle.standings import better_first
from luthier.service.storage.believable import busy_seconds, gpu_seconds, is_score
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.budget import Budget
from luthier.studies.expected_gain import LEAST_TRIALS, MOST_SCORES, expected_gain
from luthier.studies.protocol import ENDED, FINISHED, AssignmentKind, TrialState


@dataclass(frozen=True)
class Spent:
    """What a study's trials have come to.

    Attributes:
        ended: its trials that have ended, in any way, with those that other studies have run.
        tried: those that are complete or pruned.
        own: those of its own that have ended, in any way.
        counted: those of them that are complete or pruned.
        gpu_seconds: of all of its own.
        busy_seconds: that workers were busy with them.
        last_end: when the latest of its own ended, in seconds since the epoch.
    """

    ended: int
    tried: int
    own: int
    counted: int
    gpu_seconds: float
    busy_seconds: float
    last_end: float


def expected_gains(session: Session, studies: Sequence[StudyRow]) -> Mapping[int, float]:
    """Return the expected gain of those studies that go on and have trials enough, by id, in the metric's units."""
    return _gains(session, {study.id: study for study in studies if _goes_on(study)}, {})


def too_small_gain(session: Session, study: StudyRow) -> float | None:
    """Return the expected gain of a study where it is less than its budget's; None where it is not, or unknown."""
    least = study.spec.budget.expected_gain
    if least is None:
        return None
    gain = expected_gains(session, [study]).get(study.id)
    return gain if gain is not None and gain < least else None


def gain_within(session: Session, study: StudyRow, budget: Budget) -> float | None:
    """Return the expected gain of a study with another budget, also where it has ended; None where it is unknown."""
    if study.inspection is None:
        return None
    return _gains(session, {study.id: study}, {study.id: budget}).get(study.id)


def _gains(session: Session, studies: Mapping[int, StudyRow], budgets: Mapping[int, Budget]) -> dict[int, float]:
    """Return the expected gains by id; `budgets` stand in place of the studies' own."""
    spent = {id: known for id, known in _spent(session, studies).items() if known.tried >= LEAST_TRIALS}
    gains = {}
    for id, scores in _best_scores(session, [studies[id] for id in spent]).items():
        left = _left(studies[id], budgets.get(id, studies[id].spec.budget), spent[id])
        gain = None if left is None else expected_gain(scores, spent[id].tried, left)
        if gain is not None:
            gains[id] = gain
    return gains


def _goes_on(study: StudyRow) -> bool:
    return study.is_readable and study.state not in ENDED and study.ending is None and study.inspection is not None


def _spent(session: Session, studies: Mapping[int, StudyRow]) -> dict[int, Spent]:
    """Return what the trials of each study have come to, in one query."""
    if not studies:
        return {}
    is_own, has_ended = AssignmentRow.taken_from.is_(None), AssignmentRow.state.in_(FINISHED)
    is_counted = AssignmentRow.state.in_(COUNTED)
    sums = (
        func.sum(case((has_ended, 1), else_=0)),
        func.sum(case((is_counted, 1), else_=0)),
        func.sum(case((is_own & has_ended, 1), else_=0)),
        func.sum(case((is_own & is_counted, 1), else_=0)),
        func.sum(case((is_own, gpu_seconds()), else_=0.0)),
        func.sum(case((is_own, busy_seconds()), else_=0.0)),
        func.max(case((is_own & has_ended, AssignmentRow.finished_at), else_=0.0)),
    )
    of_studies = (AssignmentRow.study_id.in_(studies), AssignmentRow.kind == AssignmentKind.TRAIN)
    rows = select(AssignmentRow.study_id, *sums).where(*of_studies, ~AssignmentRow.deleted)
    return {id: Spent(*numbers) for id, *numbers in session.execute(rows.group_by(AssignmentRow.study_id))}


def _best_scores(session: Session, studies: Sequence[StudyRow]) -> dict[int, list[float]]:
    """Return the best scores of each study, best first, in one query."""
    if not studies:
        return {}
    order = (better_first(studies), AssignmentRow.number)
    place = func.row_number().over(partition_by=AssignmentRow.study_id, order_by=order)
    of_page = AssignmentRow.study_id.in_([study.id for study in studies])
    complete = (AssignmentRow.kind == AssignmentKind.TRAIN, AssignmentRow.state == TrialState.COMPLETE)
    columns = select(AssignmentRow.study_id, AssignmentRow.value, place.label("place"))
    ranked = columns.where(of_page, *complete, is_score(AssignmentRow.value)).subquery()
    best = select(ranked.c.study_id, ranked.c.value).where(ranked.c.place <= MOST_SCORES + 1)
    scores: dict[int, list[float]] = {}
    for id, value in session.execute(best.order_by(ranked.c.study_id, ranked.c.place)):
        scores.setdefault(id, []).append(value)
    return scores


def _left(study: StudyRow, budget: Budget, spent: Spent) -> float | None:
    """Return how many more trials a budget and the space are good for that will be complete or pruned.

    Those that run are among them. Time is counted in trials by what the study's own have taken so far. None where no
    own trial has ended that would tell how long one takes.
    """
    limits = []
    if budget.trials is not None:
        limits.append(float(budget.trials - spent.own))
    if budget.gpu_seconds is not None and spent.gpu_seconds > 0:
        limits.append(spent.own * (budget.gpu_seconds / spent.gpu_seconds - 1))
    # Without the time between an end and an extension, which may have come after the last trial's end.
    seconds = spent.last_end - (study.started_at or spent.last_end) - study.idle_seconds
    seconds = max(seconds, spent.busy_seconds / study.parallel)
    if budget.wall_clock_seconds is not None and seconds > 0:
        limits.append(spent.own * (budget.wall_clock_seconds / seconds - 1))
    if not limits:
        return None
    size = _size(study)
    if size is not None:
        limits.append(float(size - spent.ended))
    return max(0.0, min(limits)) * (spent.counted / spent.own if spent.own else 1.0)


def _size(study: StudyRow) -> int | None:
    """Return the number of configurations of a study's space; None where it is not finite, or its row is damaged."""
    try:
        return None if study.inspection is None else study.spec.resolved_space(study.inspection).size()
    except ValueError:  # an inspection that does not fit the spec: no list fails for it
        return None
