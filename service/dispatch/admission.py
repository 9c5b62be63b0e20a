"""Admission: whether one more trial of a study may start, by the limits of its budget, its project and its owner.

`claims.py` asks in the transaction that grants the lease, with the study's row locked, and whoever tells why a study
waits asks without locks. What a trial is expected to use is reserved from its claim to its end
(`believable.committed_gpu_seconds`); a trial that would pass a limit with what is reserved waits for the others to end.
Where nothing runs under a limit and something of it is left, one trial starts all the same: what a single trial may use
beyond is all that a limit can be passed by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from luthier.service.storage.believable import committed_gpu_seconds
from luthier.service.storage.database import Database
from luthier.service.storage.limits import Limits, limits_of
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind, TrialState

ROUNDING = 1e-6  # GPU seconds: sums of what was reserved may be a little more than the limit


@dataclass(frozen=True)
class Obstacle:
    """A limit that keeps a trial from starting now.

    Attributes:
        reason: a word of `WaitingView.reason`.
        message: for people, with the cure.
        limits: of whom; None: of the study's own budget.
    """

    reason: str
    message: str
    limits: Limits | None = None


def lock(session: Session, database: Database, study: StudyRow) -> list[Limits]:
    """Keep other transactions from starting trials under the limits of a study's project and owner until this one ends.

    The caller holds the study's row, and no lock of a GPU or an assignment: of limits the project's comes first.

    Returns:
        The limits, as they are now.
    """
    found = limits_of(session, database, study.project, study.owner)
    for limits in found:
        database.serialize(session, limits.key)
    return limits_of(session, database, study.project, study.owner) if found else []  # who waited may find others


def obstacle(session: Session, study: StudyRow, limits: Sequence[Limits], gpu_seconds: float | None) -> Obstacle | None:
    """Return the limit that keeps one more trial of a study from starting now; None where none does.

    Args:
        session: the caller's transaction.
        study: the study's row.
        limits: of its project and its owner.
        gpu_seconds: that the trial is expected to use; None for unknown: it then counts for all that is left.
    """
    limit = study.spec.budget.gpu_seconds
    if limit is not None and not _fits(*_of_study(session, study), limit, gpu_seconds):
        text = f"What is left of its {limit:g} GPU seconds is reserved by its trials that run."
        return Obstacle("gpu_seconds", text)
    for each in limits:
        found = under(session, each, gpu_seconds)
        if found is not None:
            return found
    return None


def evaluation_fits(session: Session, study: StudyRow, row: AssignmentRow) -> float | None:
    """Return the seconds to reserve for a running trial of a locked study until its next evaluation, of this attempt.

    None: its next evaluation does not fit into the study's budget beside what the other trials have reserved; then it
    gives way. One that runs alone has all that is left.
    """
    limit = study.spec.budget.gpu_seconds
    reserved = max(row.seconds, row.seconds_expected or 0.0)
    if limit is None or not row.step:
        return reserved
    until = max(reserved, row.seconds + (row.seconds_before + row.seconds) / row.step)
    committed, running = _of_study(session, study)
    beyond = (until - reserved) * (1.0 if row.gpu_share is None else row.gpu_share)
    return None if running > 1 and beyond and committed + beyond > limit + ROUNDING else until


def left(session: Session, study: StudyRow, limits: Sequence[Limits]) -> float | None:
    """Return the GPU seconds that a study may use until the first of its limits; None without any."""
    limit = study.spec.budget.gpu_seconds
    amounts = [] if limit is None else [limit - _of_study(session, study)[0]]
    for each in limits:
        if each.gpu_seconds is not None:
            amounts.append(each.gpu_seconds - each.committed(session))
    return max(0.0, min(amounts)) if amounts else None


def under(session: Session, limits: Limits, gpu_seconds: float | None) -> Obstacle | None:
    """Return why one more trial of so many GPU seconds may not start under a project's or a user's limits; or None."""
    running = limits.running(session)
    if limits.parallel is not None and running >= limits.parallel:
        text = f"{limits.shown} runs {running} of the {limits.parallel} trials that it may run at the same time."
        if limits.parallel == 0:
            text = f"{limits.shown} may run no trials: its limit is 0; raise max_parallel."
        return Obstacle("parallel", text, limits)
    if limits.gpu_seconds is None:
        return None
    committed = limits.committed(session)
    if _fits(committed, running, limits.gpu_seconds, gpu_seconds):
        return None
    if running:
        text = f"What is left of {limits.shown.lower()}'s {limits.gpu_seconds:g} GPU seconds is reserved by its trials"
        return Obstacle("gpu_seconds", f"{text} that run.", limits)
    text = (
        f"{limits.shown} has used up its {limits.gpu_seconds:g} GPU seconds: it goes on once max_gpu_seconds is raised."
    )
    return Obstacle("gpu_seconds", text, limits)


def _of_study(session: Session, study: StudyRow) -> tuple[float, int]:
    """Return the GPU seconds that a study's trials have used or reserved, and how many of them run."""
    committed, running = session.execute(_sums_of_study(), {"study_id": study.id}).one()
    return float(committed or 0.0), int(running)


@cache
def _sums_of_study() -> Select[float | None, int]:
    runs = func.count().filter(AssignmentRow.state == TrialState.RUNNING)
    sums = select(func.sum(committed_gpu_seconds()), runs)
    is_of_study = AssignmentRow.study_id == bindparam("study_id")
    return sums.where(is_of_study, AssignmentRow.kind == AssignmentKind.TRAIN)


def _fits(committed: float, running: int, limit: float, gpu_seconds: float | None) -> bool:
    """Return whether a trial of so many GPU seconds may start, beside so many that run, under a limit."""
    if not running:
        return committed < limit
    return gpu_seconds is not None and committed + gpu_seconds <= limit + ROUNDING
