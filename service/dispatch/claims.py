"""Work handed out: a queued assignment is leased, else a study is asked for a new trial.

Asking takes turns: a study's row names the request that asks Optuna now, so that trial numbers are dense, equal
Optuna's, and never pass the budget. A turn left behind by a crash runs out; the next one adopts what was asked.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from luthier.service.dispatch.core import Core
from luthier.service.dispatch.placement import Placement, trial_params
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.errors import Conflict, Unavailable
from luthier.service.lifecycle import confirmation as confirm
from luthier.service.lifecycle import transitions as lifecycle
from luthier.service.storage.leases import TrialCounts, changed_rows
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow, WorkerRow
from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import TRAINING, Assignment, AssignmentKind, Checkpoint, Claim, StudyState, TrialState
from luthier.studies.search.search import Search
from luthier.studies.wire import FileRef

ASK_SECONDS = 60.0  # a turn to ask Optuna that lasts longer was left behind by a crash


Payload = Callable[[Session, StudyRow, AssignmentRow], Mapping[str, FileRef]]
"""payload(session, study, assignment): fields of the message of an assignment that only its kind has."""


@dataclass(frozen=True)
class Claims(Core):
    """Hands work out. `payloads` adds what a kind of assignment needs beside what all of them have."""

    payloads: Mapping[AssignmentKind, Payload] = field(default_factory=dict)

    def claim(self, claim: Claim) -> Assignment | None:
        """Lease queued work, else ask for a new trial. None when there is nothing to do now."""
        with self.database.transaction() as session:
            self._touch_worker(session, claim)
            placement = Placement(self.database, claim.worker, claim.gpu)

            def place(row: AssignmentRow, lock: bool) -> dict[str, Any] | None:
                study = session.get_one(StudyRow, row.study_id)
                return placement.columns(session, study, AssignmentKind(row.kind), row.params, lock)

            row = self.leases.acquire(session, claim.worker, place, self.only)
            if row is not None:
                study = session.get_one(StudyRow, row.study_id)
                return self._assignment(session, study, row)
            wanting = select(StudyRow.id).where(StudyRow.state == StudyState.RUNNING, StudyRow.ending.is_(None))
            if self.only is not None:
                wanting = wanting.where(StudyRow.name == self.only)
            studies = list(session.scalars(wanting.order_by(StudyRow.id)))
        for study_id in studies:
            assignment = self._draw_trial(study_id, claim.worker, placement)
            if assignment is not None:
                return assignment
        return None

    def _draw_trial(self, study_id: int, worker: str, placement: Placement) -> Assignment | None:
        """A new trial of this study: reserve the turn, ask Optuna, record the trial leased to `worker`."""
        with self._turn(study_id) as turn:
            with self.database.transaction() as session:
                study = lifecycle.locked_by_id(session, study_id)
                number = None if study is None else self._next_number(session, study)
                if (
                    study is None
                    or number is None
                    or placement.columns(session, study, AssignmentKind.TRAIN, None) is None
                ):
                    return None
                if not self._take_turn(session, study, turn):
                    return None
            params = self.searches.get(study).ask(number)
            with self.database.transaction() as session:
                study = lifecycle.locked_by_id(session, study_id)
                if study is None or study.asker != turn:
                    return None  # too slow: the turn is another's, which adopts what was asked
                study.asker = study.asker_until = None
                return self._record(session, study, number, params, worker, placement)

    def _record(
        self,
        session: Session,
        study: StudyRow,
        number: int,
        params: Params | None,
        worker: str,
        placement: Placement,
    ) -> Assignment | None:
        """The row of a trial that was asked for, leased to `worker`; without parameters the space is exhausted."""
        if params is None:
            size = resolved_space(study).size()
            text = f"The space is exhausted: all of its {size} configurations were run."
            lifecycle.end_search(study, StudyState.COMPLETED, text)
            lifecycle.settle(session, self.leases, study)
            return None
        now = self.database.time(session)
        study.started_at = study.started_at or now
        row = lifecycle.new_trial(study, number, params, now)
        session.add(row)
        if study.ending is not None or study.state != StudyState.RUNNING:
            session.flush()
            lifecycle.settle(session, self.leases, study)  # stopped meanwhile: the trial is cancelled, not lost
            return None
        where = placement.columns(session, study, AssignmentKind.TRAIN, params, lock=True)
        if where is None:
            return None  # it waits, queued, until a GPU has room for it
        row.attempt, row.started_at = 1, now
        for column, value in (self.leases.lease(worker, now) | where).items():
            setattr(row, column, value)
        session.flush()
        return self._assignment(session, study, row)

    def enqueue(self, name: str, params: dict[str, Any]) -> int:
        """A user's own configuration runs next, within the budget. Returns its number.

        Raises NotFound, Conflict, Unavailable when the study's turn is taken, or ValidationError.
        """
        with self.database.reading() as session:
            study = lifecycle.find(session, name)
        with self._turn(study.id) as turn:
            with self.database.transaction() as session:
                study = lifecycle.locked(session, name)
                first = self._next_free_number(session, study)
                params = resolved_space(study).check(params)
                if not self._take_turn(session, study, turn):
                    raise Unavailable("Another configuration is being drawn right now; try again.", retry_after=1)
            added, known = self._missing_trials_then(self.searches.get(study), first, params, study.spec.budget.trials)
            with self.database.transaction() as session:
                study = lifecycle.locked(session, name)
                if study.asker != turn:
                    raise Unavailable("The database was too slow; try again.", retry_after=1)
                study.asker = study.asker_until = None
                now = self.database.time(session)
                study.started_at = study.started_at or now
                for number, configuration in enumerate(added, first):
                    session.add(lifecycle.new_trial(study, number, configuration, now))
        if known is not None:
            raise Conflict(f"This configuration is trial {known} of {name} already.")
        if added[-1:] != [params]:
            raise Conflict(f"{name} has had all {study.spec.budget.trials} trials of its budget.")
        return first + len(added) - 1

    def _missing_trials_then(
        self, search: Search, first: int, params: Params, limit: int | None
    ) -> tuple[list[Params], int | None]:
        """The configurations of trials `first`, `first` + 1, ...: those that must come before the user's, and the
        user's; and the number of the trial that has it already, else None.

        Before it come the baseline, which is always trial 0, and trials that a crash left in Optuna alone.
        """
        added: list[Params] = []
        known = search.find(params)
        while first + len(added) == 0 or search.count() > first + len(added):
            added.append(search.ask(first + len(added)) or {})
            known = search.find(params)
        number = first + len(added)
        if known is None and (limit is None or number < limit):
            search.enqueue(number, params)
            added.append(params)
        return added, known

    @contextmanager
    def _turn(self, study_id: int) -> Iterator[str]:
        """The token of a turn to ask on a study's behalf; one that an error ends is given back."""
        turn = secrets.token_hex(16)
        with self.searches.turn(study_id):
            try:
                yield turn
            except BaseException:
                with suppress(SQLAlchemyError), self.database.transaction() as session:
                    given_back = update(StudyRow).where(StudyRow.id == study_id, StudyRow.asker == turn)
                    changed_rows(session, given_back.values(asker=None, asker_until=None))
                raise

    def _next_free_number(self, session: Session, study: StudyRow) -> int:
        """The number of a user's own trial. Raises Conflict when the study takes none."""
        if study.state not in (StudyState.RUNNING, StudyState.PAUSED) or study.ending is not None:
            state = "not inspected yet; try again once it runs" if study.state == StudyState.QUEUED else study.state
            raise Conflict(f"{study.name} is {state}: no trial can be added.")
        total = TrialCounts.of(session, study.id).total
        trials = study.spec.budget.trials
        if trials is not None and total >= trials:
            raise Conflict(f"{study.name} has had all {trials} trials of its budget.")
        return total

    def _next_number(self, session: Session, study: StudyRow) -> int | None:
        """The number of the trial to ask for; None when the study wants none now."""
        tally, trials = lifecycle.settle(session, self.leases, study), study.spec.budget.trials
        if tally is None or study.state != StudyState.RUNNING:
            return None
        full = tally[TrialState.QUEUED] > 0 or tally[TrialState.RUNNING] >= study.parallel
        return None if full or (trials is not None and tally.total >= trials) else tally.total

    def _take_turn(self, session: Session, study: StudyRow, turn: str) -> bool:
        free = StudyRow.asker.is_(None) | (StudyRow.asker_until < self.database.now())
        taken = {"asker": turn, "asker_until": self.database.now() + ASK_SECONDS}
        return changed_rows(session, update(StudyRow).where(StudyRow.id == study.id, free).values(**taken)) == 1

    def _touch_worker(self, session: Session, claim: Claim) -> None:
        gpu = {"gpu": claim.gpu and claim.gpu.id, "gpu_bytes": claim.gpu and claim.gpu.total_bytes}
        values = {"device": claim.device, "version": claim.version, "seen_at": self.database.now()} | gpu
        statement = self.database.insert(WorkerRow).values(name=claim.worker, **values)
        session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))

    def _assignment(self, session: Session, study: StudyRow, row: AssignmentRow) -> Assignment:
        spec = study.spec
        kind, source = AssignmentKind(row.kind), row
        extra: dict[str, Any] = {}
        if kind is AssignmentKind.EVALUATE:
            source = lifecycle.winning(session, study)
            extra = {"provenance": self._provenance(session, study, source)}
        elif kind in self.payloads:
            extra = dict(self.payloads[kind](session, study, row))
        checkpoint = Checkpoint.model_validate(
            {"step": source.resume_step, "resume": source.resume, "best": source.best}
            | {"best_step": source.best_step, "best_value": source.value}
        )
        if kind in TRAINING and checkpoint.resume is None:
            checkpoint = Checkpoint()  # nothing to go on from: from the start, reports of known steps are repeats
        return Assignment(
            id=row.id,
            kind=kind,
            token=row.token or "",
            attempt=row.attempt,
            lease_seconds=self.leases.lease_seconds,
            study=study.name,
            spec=spec,
            store=str(self.store.folder(study.id, source.id)),
            store_mark=self.store.mark,
            number=None if kind is AssignmentKind.INSPECT else source.number,
            params={} if kind is AssignmentKind.INSPECT else trial_params(study, source.params),
            seed=row.seed,
            inspection=study.inspection,
            checkpoint=checkpoint,
            micro_batch=study.micro_batch,
            memory_bytes=None if row.gpu_share is None or row.gpu_share >= 1 else row.gpu_bytes,
            **extra,
        )

    def _provenance(self, session: Session, study: StudyRow, winner: AssignmentRow) -> dict[str, Any]:
        """What made the winner, for luthier.json."""
        baseline = session.scalar(
            select(AssignmentRow.value).where(
                AssignmentRow.study_id == study.id,
                AssignmentRow.kind == AssignmentKind.TRAIN,
                AssignmentRow.number == 0,
            )
        )
        report = session.get(ReportRow, (winner.id, winner.best_step))
        return {
            "study": study.name,
            "trial": study.winner,
            "best_step": winner.best_step,
            "validation": report.metrics if report else {},
            "baseline": {"trial": 0, "value": baseline},
            "search_params": winner.params,
            "confirmed": [
                {"trial": candidate.trial.number, "values": candidate.values}
                for candidate in confirm.candidates(session, study)
            ],
        }
