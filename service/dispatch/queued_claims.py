"""Claims of queued work: which assignment a worker may have, and its lease under every limit.

`claims.py` is made of it, and draws a trial where nothing that is queued suits the worker.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.orm import Session

from luthier.service.dispatch import admission
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.expected_time import expected_seconds
from luthier.service.dispatch.payload import Payload, assignment_message
from luthier.service.dispatch.placement import Placement
from luthier.service.dispatch.prefix_hosts import cached_first
from luthier.service.dispatch.search_faults import Doing
from luthier.service.dispatch.work_order import charge_start, start_of
from luthier.service.lifecycle import absences, quarantine
from luthier.service.storage.database import is_passing
from luthier.service.storage.limits import Limits, limits_of
from luthier.service.storage.reservation import Reservation
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.service.storage.work_queue import Part, list_queued, lock_working
from luthier.studies.protocol import TRAINING, Assignment, AssignmentKind

KINDS = frozenset(AssignmentKind)  # a newer version's row may have another
IN_A_ROW = 4  # urgent assignments of a project, before a new trial of another one goes first
UNKNOWN_SECONDS = 60.0  # that a trial is charged with in advance where nothing is known of its time


class _Passed(Exception):
    """No lease after all: what was locked for it is unlocked by the end of the savepoint."""


@dataclass(frozen=True)
class QueuedClaims:
    """Leases queued work. Threads share an instance.

    Attributes:
        core: the service's parts.
        payloads: by kind, the maker of those fields of an assignment's message that only its kind has.
        favoured: project -> how much urgent work of it was handed out since the latest new trial.
    """

    core: Core
    payloads: Mapping[AssignmentKind, Payload] = field(default_factory=dict)
    favoured: Counter[str] = field(default_factory=Counter)

    def lease_queued(
        self,
        session: Session,
        placement: Placement,
        outcomes: dict[int, Exception | None],
        part: Part,
        study_id: int | None = None,
        without_projects: Collection[str] = (),
    ) -> Assignment | None:
        """Lease the first queued assignment that the worker may have; None when there is none.

        Args:
            session: the claim's transaction.
            placement: the worker, and the room on its GPU.
            outcomes: gets, for each study that was tried, what handing out raised, so that it stays queued; or None.
            part: of the queue.
            study_id: of the one study to look at; None: all.
            without_projects: names of projects whose work is left out.
        """
        passed: set[int] = set()  # studies whose work cannot be handed out now: it must not hide that of others
        left: set[int] = set()  # nor must the work that this worker leaves to others
        while rows := list_queued(session, part, self.core.only, passed, study_id, left, without_projects):
            unusable = {row.study_id for row in rows if not self._can_hand_out(session, row, placement.worker)}
            unfit = placement.left_to_others(session, rows)
            if not unusable and not unfit:
                for row in cached_first(session, rows, part, placement):
                    assignment = self._tried(session, row, placement, outcomes)
                    if assignment is not None:
                        return assignment
                unusable = {row.study_id for row in rows}
            passed |= unusable
            left |= unfit
        return None

    def lease_urgent(
        self,
        session: Session,
        placement: Placement,
        outcomes: dict[int, Exception | None],
        without_projects: Collection[str] = (),
    ) -> Assignment | None:
        """Lease urgent work of any project but some, and note whose it was; None when there is none.

        The arguments are those of `lease_queued`.
        """
        assignment = self.lease_queued(session, placement, outcomes, Part.URGENT, without_projects=without_projects)
        if assignment is not None:
            row = session.get_one(AssignmentRow, assignment.id)
            self.favoured[session.get_one(StudyRow, row.study_id).project] += 1
        return assignment

    def _can_hand_out(self, session: Session, row: AssignmentRow, worker: str) -> bool:
        """Return whether a queued row can be read, and its study's work has not just failed: here, or at the worker."""
        study = session.get_one(StudyRow, row.study_id)
        is_readable = study.is_readable and isinstance(row.params, dict) and row.kind in KINDS
        if not is_readable or self.core.searches.faults.rests(row.study_id, Doing.HAND_OUT):
            return False
        return not absences.rests(session, self.core.database, study, worker)

    def _tried(
        self, session: Session, row: AssignmentRow, placement: Placement, outcomes: dict[int, Exception | None]
    ) -> Assignment | None:
        """Lease a queued assignment; None when there is no room for it, a limit is reached, or it raised."""
        study_id, kind = row.study_id, AssignmentKind(row.kind)
        study = session.get_one(StudyRow, study_id)
        if isinstance(outcomes.get(study_id), Exception) or not self.may_start(session, placement, study, kind, row):
            return None
        try:
            with session.begin_nested():
                assignment = self.lease(session, study, row, placement)
                if assignment is None:
                    raise _Passed
            outcomes[study_id] = None
            return assignment
        except _Passed:
            return None
        except Exception as error:
            if is_passing(error):
                raise
            outcomes[study_id] = error
        return None

    def may_start(
        self,
        session: Session,
        placement: Placement,
        study: StudyRow,
        kind: AssignmentKind,
        row: AssignmentRow | None = None,
    ) -> bool:
        """Return whether there is room for work of a study, and no limit is reached; a guess, as nothing is locked.

        `row`: the work; None: a trial that is not drawn yet.
        """
        reservation = placement.reserve(session, study, kind, None if row is None else row.params)
        if reservation is None or kind not in TRAINING:
            return reservation is not None
        limits = limits_of(session, self.core.database, study.project, study.owner)
        if not limits and study.spec.budget.gpu_seconds is None:
            return True
        return self._admitted(session, study, row, reservation, limits) is not None

    def lease(
        self, session: Session, study: StudyRow, row: AssignmentRow, placement: Placement, is_locked: bool = False
    ) -> Assignment | None:
        """Lease a queued assignment to the worker; None when another claim was faster, or a limit is reached.

        Locks, in this order: the study (of trials and repetitions), the limits of its project and owner, the GPU, the
        assignment, the share of the project. `is_locked`: the study's row was read under its lock, and is at work.
        """
        kind, database = AssignmentKind(row.kind), self.core.database
        start, limits = None, list[Limits]()
        if kind in TRAINING:
            if not is_locked and not lock_working(session, study.id):
                return None
            start = start_of(session, study)
            if start.running >= study.parallel:
                return None
            if start.are_limits_set:
                limits = admission.lock(session, database, study)
        reservation = placement.reserve(session, study, kind, row.params, lock=True)
        if reservation is not None and kind in TRAINING:
            reservation = self._admitted(session, study, row, reservation, limits)
        if reservation is None:
            return None
        standing = placement.standing
        if standing is not None and not quarantine.begin_probe(session, placement.worker, standing, row.id):
            return None
        before = row.gpu_seconds_charged or 0.0
        leased = self.core.leases.grant(session, row, placement.worker, reservation, placement.lease_seconds)
        if leased is None:
            return None
        if start is not None:
            charged = (leased.gpu_seconds_charged or 0.0) - before
            charge_start(session, database, study, start, charged, leased.granted_at)
        return assignment_message(session, self.core, study, leased, self.payloads.get(kind))

    def _admitted(
        self,
        session: Session,
        study: StudyRow,
        row: AssignmentRow | None,
        reservation: Reservation,
        limits: Sequence[Limits],
    ) -> Reservation | None:
        """Return a trial's reservation with the time that it is expected to take; None where a limit is reached."""
        seconds = expected_seconds(session, study, None if row is None else row.params)
        share = reservation.share or 1.0
        cost = None if seconds is None else seconds * share
        if admission.obstacle(session, study, limits, cost) is not None:
            return None
        if seconds is None:
            left = admission.left(session, study, limits)
            seconds = UNKNOWN_SECONDS if left is None else left / share
        return replace(reservation, seconds=seconds)
