"""Why studies wait: for each one with work of which nothing runs, the reason, and for about how long.

Views of studies call it. It reads rows without locks and changes nothing, so what it says is a look at one moment. The
number of queries does not grow with the studies, but with the limits on GPU seconds that hold for them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.dispatch import admission
from luthier.service.dispatch.expected_time import expected_seconds
from luthier.service.schemas.studies import WaitingView
from luthier.service.storage.database import Database, database_of
from luthier.service.storage.limits import Limits, all_limits
from luthier.service.storage.presence import Presence
from luthier.service.storage.service_tables import WorkerRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import StudyState, TrialState

HAVE_WORK = (StudyState.QUEUED, StudyState.RUNNING, StudyState.STOPPING)
NO_WORKER = "No worker is there. `luthier serve` starts its own; others join with `luthier worker --server URL`."


@dataclass(frozen=True)
class _Fleet:
    """The workers at one moment.

    Attributes:
        is_there: whether any worker is connected.
        busy: how many have work.
        idle: whether one waits that has no GPU, or one on which nothing runs.
        is_full: whether workers wait, but all of them on GPUs that others' trials use.
        rests: for each (project, owner) that has work running, the seconds until the first of it should have ended.
    """

    is_there: bool
    busy: int
    idle: bool
    is_full: bool
    rests: Mapping[tuple[str, str | None], float] = field(default_factory=dict)

    def rest(self, limits: Limits | None = None) -> float | None:
        """Return the seconds until a trial should end: of any project, or under some limits; None for unknown."""
        seconds = [
            seconds
            for (project, owner), seconds in self.rests.items()
            if limits is None or limits.name == (project if limits.who == "project" else owner)
        ]
        return max(0.0, round(min(seconds), 1)) if seconds else None


def waiting_views(session: Session, studies: Sequence[StudyRow], problem: str | None) -> dict[int, WaitingView]:
    """Return id -> why it waits, of the studies that do.

    Args:
        session: the transaction to read in.
        studies: their rows.
        problem: why no study of the service goes on now: its disk is full.
    """
    database = database_of(session)
    waiting = [study for study in studies if study.state in HAVE_WORK and not study.transient and not study.external]
    if not waiting:
        return {}
    runs = select(AssignmentRow.study_id).where(AssignmentRow.state == TrialState.RUNNING)
    running = set(session.scalars(runs.where(AssignmentRow.study_id.in_([study.id for study in waiting])).distinct()))
    waiting = [study for study in waiting if study.id not in running]
    if not waiting:
        return {}
    if problem is not None:
        return {study.id: WaitingView(reason="disk", message=problem) for study in waiting}
    fleet = _fleet(session, database)
    limits = all_limits(session, database, _named(waiting, "project"), _named(waiting, "owner"))
    found = {study.id: _why(session, fleet, study, limits) for study in waiting}
    return {study_id: view for study_id, view in found.items() if view is not None}


def _named(studies: Iterable[StudyRow], column: str) -> list[str]:
    return sorted({getattr(study, column) for study in studies} - {None})


def _why(session: Session, fleet: _Fleet, study: StudyRow, limits: Sequence[Limits]) -> WaitingView | None:
    """Return why a study of which nothing runs waits; None where a worker is about to take its work up."""
    if not fleet.is_there:
        return WaitingView(reason="worker", message=NO_WORKER)
    if study.state == StudyState.RUNNING and study.ending is None and study.is_readable:
        for own in limits:
            if own.name != (study.project if own.who == "project" else study.owner):
                continue
            seconds = None if own.gpu_seconds is None else expected_seconds(session, study, None)
            obstacle = admission.under(session, own, seconds)
            if obstacle is not None:
                return WaitingView(reason=obstacle.reason, message=obstacle.message, seconds=fleet.rest(own))
        if study.search_error is not None:
            return WaitingView(reason="search", message=study.search_error)
    if fleet.idle or not (fleet.busy or fleet.is_full):
        return None
    if fleet.is_full:
        text = "Workers wait, but the trials that run on their GPUs leave no room for its next one."
        return WaitingView(reason="room", message=text, seconds=fleet.rest())
    who = "The worker that is there is" if fleet.busy == 1 else f"All {fleet.busy} workers are"
    text = f"{who} busy with other work; it is its turn by its share and priority."
    return WaitingView(reason="share", message=text, seconds=fleet.rest())


def _fleet(session: Session, database: Database) -> _Fleet:
    presence = Presence(database, 0.0)
    until = AssignmentRow.granted_at + AssignmentRow.seconds_expected - database.now()
    work = select(StudyRow.project, StudyRow.owner, func.min(until), func.count(AssignmentRow.worker.distinct()))
    work = work.select_from(AssignmentRow).join(StudyRow).where(AssignmentRow.state == TrialState.RUNNING)
    rows = session.execute(work.where(~StudyRow.external).group_by(StudyRow.project, StudyRow.owner)).all()
    used = select(AssignmentRow.gpu).where(AssignmentRow.state == TrialState.RUNNING, AssignmentRow.gpu.is_not(None))
    busy = select(AssignmentRow.worker).where(AssignmentRow.state == TrialState.RUNNING)
    is_free = WorkerRow.gpu.is_(None) | WorkerRow.gpu.not_in(used)
    waits = select(func.count(), func.count().filter(is_free)).where(presence.is_waiting(), WorkerRow.name.not_in(busy))
    waiting, free = session.execute(waits).one()
    return _Fleet(
        is_there=presence.any_worker(session),
        busy=sum(row[3] for row in rows),
        idle=bool(free),
        is_full=bool(waiting) and not free,
        rests={(project, owner): seconds for project, owner, seconds, _ in rows if seconds is not None},
    )
