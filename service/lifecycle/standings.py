"""The standings of many studies at once: counts, time, best trial, baseline, winner and repetitions.

Views of a page of studies are made from it. The number of queries does not grow with the studies.
Nothing is changed here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.lifecycle import confirmation
from luthier.service.lifecycle.confirmation import Candidate
from luthier.service.storage.believable import gpu_seconds, is_score
from luthier.service.storage.tables import AssignmentRow, StudyRow, WaitingRow
from luthier.studies.protocol import ENDED, USES, AssignmentKind, TrialState


@dataclass
class Standing:
    """A study's standing.

    Attributes:
        counts: trial state -> number of trials; those that wait for an inspection are queued.
        taken: how many of them other studies have run.
        gpu_seconds: that its assignments have used.
        best: its best trials, best first; more than one only where its spec asks for confirmation.
        named: number -> trial, of its baseline and of its winner.
        candidates: the trials that were, or will be, trained again on fresh seeds.
    """

    counts: dict[str, int] = field(default_factory=dict)
    taken: int = 0
    gpu_seconds: float = 0.0
    best: list[AssignmentRow] = field(default_factory=list)
    named: dict[int, AssignmentRow] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)


def standings(session: Session, studies: Sequence[StudyRow]) -> dict[int, Standing]:
    """Return the standing of each study by its id. A study whose spec cannot be read has no best trial."""
    found = {study.id: Standing() for study in studies}
    _count(session, found)
    _count_waiting(session, studies, found)
    readable = [study for study in studies if study.is_readable]
    confirmed = [study for study in readable if study.spec.confirm is not None]
    plain = [study for study in readable if study.spec.confirm is None]
    for row in (*_best(session, plain), *_candidates(session, confirmed)):
        found[row.study_id].best.append(row)
    named = (
        select(AssignmentRow)
        .join(StudyRow)
        .where(AssignmentRow.study_id.in_(found), AssignmentRow.kind == AssignmentKind.TRAIN)
        .where(AssignmentRow.number.in_([0, StudyRow.winner]), ~AssignmentRow.deleted)
    )
    for row in session.scalars(named):
        found[row.study_id].named[row.number] = row
    repetitions = _repetitions(session, confirmed)
    for study in confirmed:
        standing = found[study.id]
        standing.candidates = confirmation.pair(study.spec, standing.best, repetitions[study.id])
    return found


def _count(session: Session, found: dict[int, Standing]) -> None:
    """Fill in the numbers of trials by state, and the GPU seconds of all assignments."""
    columns = (AssignmentRow.study_id, AssignmentRow.kind, AssignmentRow.state, AssignmentRow.deleted)
    sums = (func.count(), func.count(AssignmentRow.taken_from), func.sum(gpu_seconds()))
    by_state = select(*columns, *sums).where(AssignmentRow.study_id.in_(found)).group_by(*columns)
    for study_id, kind, state, deleted, count, taken, seconds in session.execute(by_state):
        standing = found[study_id]
        if kind not in USES:  # a use of the winner, not a part of the search
            standing.gpu_seconds += seconds
        if kind == AssignmentKind.TRAIN and not deleted:
            standing.counts[state] = count
            standing.taken += taken


def _count_waiting(session: Session, studies: Sequence[StudyRow], found: dict[int, Standing]) -> None:
    """Add the trials that wait for an inspection: queued, or cancelled where their study has ended before it."""
    unstarted = {study.id: study.state for study in studies if not found[study.id].counts}
    if not unstarted:
        return
    columns = (WaitingRow.study_id, WaitingRow.ended)
    waiting = select(*columns, func.count()).where(WaitingRow.study_id.in_(unstarted)).group_by(*columns)
    for study_id, ended, count in session.execute(waiting):
        if ended is None or ended == TrialState.CANCELLED:  # else deleted
            state = TrialState.CANCELLED if ended or unstarted[study_id] in ENDED else TrialState.QUEUED
            counts = found[study_id].counts
            counts[state] = counts.get(state, 0) + count


_IS_COMPLETE = (
    AssignmentRow.kind == AssignmentKind.TRAIN,
    AssignmentRow.state == TrialState.COMPLETE,
    is_score(AssignmentRow.value),
)


def better_first(studies: Sequence[StudyRow]) -> ColumnElement[float | None]:
    """Return the SQL expression that orders the trials of these studies, each by the direction of its objective."""
    maximized = [study.id for study in studies if study.spec.maximize]
    return AssignmentRow.value * case((AssignmentRow.study_id.in_(maximized), -1.0), else_=1.0)


def _best(session: Session, studies: Sequence[StudyRow]) -> Iterable[AssignmentRow]:
    """Return the best complete trial of each study, the earlier of equals."""
    if not studies:
        return []
    first = select(AssignmentRow.id).where(AssignmentRow.study_id == StudyRow.id, *_IS_COMPLETE)
    first = first.order_by(better_first(studies), AssignmentRow.number).limit(1).correlate(StudyRow)
    ids = select(first.scalar_subquery()).where(StudyRow.id.in_([study.id for study in studies]))
    return session.scalars(select(AssignmentRow).where(AssignmentRow.id.in_(ids)))


def _candidates(session: Session, studies: Sequence[StudyRow]) -> Iterable[AssignmentRow]:
    """Return the best complete trials of each study, best first, as many as the one that wants most has candidates."""
    if not studies:
        return []
    order = (better_first(studies), AssignmentRow.number)
    place = func.row_number().over(partition_by=AssignmentRow.study_id, order_by=order)
    of_page = AssignmentRow.study_id.in_([study.id for study in studies])
    ranked = select(AssignmentRow.id, place.label("place")).where(of_page, *_IS_COMPLETE).subquery()
    wanted = max(study.spec.confirm.candidates for study in studies if study.spec.confirm is not None)
    best = select(AssignmentRow).join(ranked, ranked.c.id == AssignmentRow.id).where(ranked.c.place <= wanted)
    return session.scalars(best.order_by(AssignmentRow.study_id, ranked.c.place))


def _repetitions(session: Session, studies: Sequence[StudyRow]) -> dict[int, list[AssignmentRow]]:
    """Return study id -> all of its repetitions."""
    rows: dict[int, list[AssignmentRow]] = {study.id: [] for study in studies}
    again = select(AssignmentRow).where(AssignmentRow.study_id.in_(rows), AssignmentRow.kind == AssignmentKind.CONFIRM)
    for row in session.scalars(again) if studies else ():
        rows[row.study_id].append(row)
    return rows
