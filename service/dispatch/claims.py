"""Claims: a worker gets urgent work under a lease, else a new trial of the study whose turn it is.

Called by the worker's API, and for the trainers of external studies (`ask`). Whose turn it is says `work_order.py`; a
new trial is one that a user queued, else drawn by Optuna. Drawing a trial needs the study's turn:
`StudyRow.ask_token` names the request that asks Optuna now. Trial numbers are therefore dense, equal to Optuna's, and
never exceed the budget. A turn that a crash left behind expires; the next request adopts the trial that Optuna has
drawn.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from luthier.service.dispatch import waiting_trials
from luthier.service.dispatch.failed_draws import note_failed_draw, note_message
from luthier.service.dispatch.fair_share import owed_change
from luthier.service.dispatch.placement import Placement
from luthier.service.dispatch.queued_claims import IN_A_ROW, QueuedClaims
from luthier.service.dispatch.requests import Drawn
from luthier.service.dispatch.search_faults import Doing
from luthier.service.dispatch.search_openings import PATIENCE_SECONDS, SearchOpening
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.dispatch.work_order import Order, of_others, work_order
from luthier.service.errors import Unavailable
from luthier.service.lifecycle import absences, promotions, quarantine, second_tries, study_rows, transitions
from luthier.service.storage import shares
from luthier.service.storage.database import is_passing
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.service.storage.turns import Turns
from luthier.service.storage.work_queue import Part
from luthier.studies.protocol import Assignment, AssignmentKind, Claim, StudyState, TrialState

DRAWING_SECONDS = 5.0  # that a claim waits for other claims that draw for the same study; then its worker asks again


@dataclass(frozen=True)
class Claims(QueuedClaims):
    """Hands out work. Methods open transactions of their own; threads share an instance.

    Attributes:
        apart: the workers that were in quarantine at their latest claim: what they find tells nothing of others.
        turns: project -> when it had a trial of what is owed to lower priorities, by the monotonic clock.
    """

    apart: set[str] = field(default_factory=set)
    turns: dict[str, float] = field(default_factory=dict)

    def claim(self, claim: Claim) -> Assignment | None:
        """Lease queued work to a worker, else draw a new trial for it; None when there is nothing to do now.

        There is nothing to do either while a disk of the service is full, or nearly so. A project that had
        several urgent assignments in a row lets others go first once: no flood of predictions or studies stops these.
        """
        if self.core.room.shortage() is not None:
            with suppress(SQLAlchemyError), self.core.database.transaction() as session:
                self.core.presence.record_claim(session, claim)
            return None
        placement = Placement(self.core.database, self.core.presence, claim.worker, claim.gpu, host=claim.host)
        outcomes: dict[int, Exception | None] = {}
        with self.core.database.transaction() as session:
            is_quarantined = self.core.presence.record_claim(session, claim)
            standing = self._standing(session, claim.worker) if is_quarantined else None
            (self.apart.discard if standing is None else self.apart.add)(claim.worker)
            if standing is not None and not standing.is_due:
                return None
            placement = replace(placement, standing=standing)
            favoured = {project for project, count in list(self.favoured.items()) if count >= IN_A_ROW}
            assignment = self.lease_urgent(session, placement, outcomes, favoured)
            order = Order() if assignment is not None else self._order(session)
            others = of_others(session, order, favoured)
        # A worker that waits is woken again; another one would find nothing.
        patience = PATIENCE_SECONDS if claim.wait_seconds else DRAWING_SECONDS
        assignment = assignment or self._start_new(others, placement, patience)
        if assignment is None and favoured:
            self.favoured.clear()
            with self.core.database.transaction() as session:
                assignment = self.lease_urgent(session, placement, outcomes)
        self._note(outcomes)
        return assignment or self._start_new(order, placement, patience)

    def _order(self, session: Session) -> Order:
        return work_order(session, self.core.database, self.core.only, self.turns)

    def _start_new(self, order: Order, placement: Placement, patience: float) -> Assignment | None:
        """Start the first trial that suits the worker, of the studies in their order; None when none does."""
        assignment = self._first_new(order, placement, patience)
        if assignment is not None:
            self.favoured.clear()
            if order.held:
                self._owe(order, assignment)
        return assignment

    def _first_new(self, order: Order, placement: Placement, patience: float) -> Assignment | None:
        """Start a trial as `_start_new` does, without the accounts."""
        busy: list[int] = []
        for candidate in order.candidates:
            study_id = candidate.study_id
            assignment = self._lease_new(study_id, placement) if study_id in order.queued else None
            if assignment is None:  # where all that is queued is left to others, one may be drawn
                assignment = self._draw_alone(study_id, placement, 0, PATIENCE_SECONDS, busy)
            if assignment is not None:
                return assignment
        # Only now: while others draw for one study, or its trials are read, there is time to draw for the next.
        for study_id in busy:
            assignment = self._draw_alone(study_id, placement, DRAWING_SECONDS, patience, [])
            if assignment is not None:
                return assignment
        return None

    def _standing(self, session: Session, worker: str) -> quarantine.Standing | None:
        """Return what a worker in quarantine may do now; None where there is none."""
        return quarantine.standing(session, self.core.presence, worker) if self.core.judges_workers else None

    def _lease_new(self, study_id: int, placement: Placement) -> Assignment | None:
        """Lease a queued trial of a study that was never begun; None when none can start now."""
        outcomes: dict[int, Exception | None] = {}
        with self.core.database.transaction() as session:
            assignment = self.lease_queued(session, placement, outcomes, Part.NEW, study_id)
        self._note(outcomes)
        return assignment

    def _owe(self, order: Order, assignment: Assignment) -> None:
        """Note what lower priorities are owed after a trial was handed out while some of them waited."""
        with self.core.database.transaction() as session:
            row = session.get(AssignmentRow, assignment.id)
            if row is not None:
                amount = owed_change(row.study_id, order.held, row.gpu_seconds_charged or 0.0)
                served = [one.project for one in order.held if one.study_id == row.study_id]
                self.turns.update(dict.fromkeys(served, time.monotonic()))
                shares.owe(self.core.database, session, amount)

    def _note(self, outcomes: Mapping[int, Exception | None]) -> None:
        for study_id, error in outcomes.items():
            note_message(self.core, study_id, error)

    def ask(self, study_id: int, client: str, lease_seconds: float | None) -> Assignment | None:
        """Lease a queued trial of an external study to a client, else draw a new one; None when none may start now.

        Args:
            study_id: the study.
            client: the name that its user gave to the program that asks.
            lease_seconds: how long the lease is to last without a message; None: as long as those of workers.
        """
        if self.core.room.shortage() is not None:
            return None
        placement = Placement(self.core.database, self.core.presence, client, None, lease_seconds)
        outcomes: dict[int, Exception | None] = {}
        with self.core.database.transaction() as session:
            assignment = self.lease_queued(session, placement, outcomes, Part.EXTERNAL, study_id)
        self._note(outcomes)
        return assignment or self._draw_alone(study_id, placement, DRAWING_SECONDS, PATIENCE_SECONDS, [])

    def _draw_alone(
        self, study_id: int, placement: Placement, wait_seconds: float, patience: float, busy: list[int]
    ) -> Assignment | None:
        """Draw a trial of a study and lease it to the worker; what the study's search raises is noted, not raised.

        Args:
            study_id: the study.
            placement: the worker, and the room on its GPU.
            wait_seconds: how long to wait for other threads that draw for this study.
            patience: seconds that the reading of its trials may take.
            busy: gets the study where one of the two was not enough.

        Returns:
            The message; None if no trial can start now.
        """
        searches = self.core.searches
        if searches.faults.rests(study_id, Doing.DRAW):
            return None
        try:
            with searches.exclusive(study_id, wait_seconds) as entered:
                if entered:
                    return self._draw_trial(study_id, placement, patience)
                busy.append(study_id)
        except SearchOpening:
            busy.append(study_id)
        except Unavailable:  # another service has its turn
            pass
        except Exception as error:
            if is_passing(error):
                raise
            note_failed_draw(self.core, study_id, error)
        return None

    def _draw_trial(self, study_id: int, placement: Placement, patience: float) -> Assignment | None:
        """Take the study's turn, ask Optuna for a trial, and lease it to the worker; None if no trial can start now.

        The caller is the only thread of this process that asks on the study's behalf.
        """
        with self.core.database.transaction() as session:
            study = study_rows.lock_by_id(session, study_id)
            number = None if study is None else self._next_number(session, study, placement)
            if study is None or number is None:
                return None
            rows = waiting_trials.waiting(session, study_id) if number == 0 else []
            if absences.rests(session, self.core.database, study, placement.worker):
                return None
            if not self.may_start(session, placement, study, AssignmentKind.TRAIN):
                return None
            token = self._turns.take(session, study_id)
            if token is None:
                return None
        with self._turns.given_back_on_error(study_id, token):
            search = self.core.searches.prepared(study, number, patience)
            params = search.ask(number)
            drawn = None
            if params is not None:  # perhaps a user's, which a crash left there
                drawn = Drawn(params, search.own_seed(number), search.request_of(number))
            waited = waiting_trials.draw(search, study, rows)
            with self.core.database.transaction() as session:
                study = study_rows.lock_by_id(session, study_id)
                if study is None or not self._turns.is_held(study, token):
                    return None  # too slow: another request has the turn, and adopts the trial
                study.search_error = self.core.searches.faults.healed(study_id, Doing.DRAW)
                row = self._insert_drawn(session, study, number, drawn)
                waiting_trials.insert(session, self.core.leases, search, study, waited, 1)
                waiting_trials.remove(session, rows)
                if row is None or study.ending is not None or study.state != StudyState.RUNNING:
                    transitions.settle(session, self.core.leases, study)  # it has ended: trials are cancelled, not lost
                    assignment = None
                else:
                    assignment = self.lease(session, study, row, placement, is_locked=True)
                Turns.free(study)
                return assignment

    def _next_number(self, session: Session, study: StudyRow, placement: Placement) -> int | None:
        """Settle a locked study, and return the number of the trial to ask for; None when it wants none now."""
        if not study.is_readable:
            return None
        counts = transitions.settle(session, self.core.leases, study)
        if counts is None or study.state != StudyState.RUNNING:
            return None
        if counts.active >= study.parallel:
            return None
        if counts[TrialState.QUEUED] > 0:  # these come first, but for those that this worker failed at
            left = placement.left_to_others(session, second_tries.doubted(session, study.id))
            if counts[TrialState.QUEUED] > len(left):
                return None
        trials = study.spec.budget.trials
        return None if trials is not None and counts.spent >= trials else counts.next_number

    def _insert_drawn(
        self, session: Session, study: StudyRow, number: int, drawn: Drawn | None
    ) -> AssignmentRow | None:
        """Insert a trial of a locked study that Optuna has drawn, in the transaction that gave back the turn.

        Args:
            session: that transaction.
            study: its row.
            number: the trial's number.
            drawn: the trial; None: the space is exhausted, and the study's search ends.

        Returns:
            Its row, queued; None where there is none; the search goes on while paused trials may.
        """
        if drawn is None:
            if promotions.are_left(session, self.core.leases, study):
                return None
            size = resolved_space(study).size()
            what = "nothing new was found in it" if size is None else f"all of its {size} configurations were run"
            text = f"The space is exhausted: {what}."
            transitions.end_search(study, StudyState.COMPLETED, text)
            return None
        leases, now = self.core.leases, self.core.database.now()
        if not study.started_at:
            study.started_at = self.core.database.time(session)
        return transitions.queue_trial(session, leases, study, number, drawn.params, now, drawn.seed, drawn.notes)

    @cached_property
    def _turns(self) -> Turns:
        return Turns.to_ask(self.core.database)
