"""Outcomes: how workers say that the work on an assignment has ended, and what the end makes of its study.

`Reports` adds what comes before the end, and is what the API is given. Our rows are written first, in one transaction;
Optuna's storage and files follow outside of it. A message under a lease that is over changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from luthier.service.dispatch import baseline_files, checkpoints, member_files, onnx_files, predictions
from luthier.service.dispatch.core import Core
from luthier.service.errors import Stale, invalid
from luthier.service.lifecycle import (
    absences,
    promotions,
    retraining,
    second_tries,
    study_rows,
    succession,
    transitions,
    trial_time,
    winner,
)
from luthier.service.storage import shares
from luthier.service.storage.column_types import StoredModel
from luthier.service.storage.tables import AssignmentRow, ResultsRow, StudyRow
from luthier.studies.protocol import (
    ENDED,
    FINISHED,
    TRAINING,
    USES,
    AssignmentKind,
    DataProblem,
    Outcome,
    Reason,
    StudyState,
    TrialState,
)

Also = Callable[[Session, StudyRow, AssignmentRow], None]
"""also(session, study, assignment): a further change of a held assignment's row, within its message's transaction."""
NO_REASON = DataProblem(message="The worker gave no reason.")
MOST_PAUSES = 5  # attempts after which a trial that brings no file need not pause any more
NO_FILE = "It was to pause, and has no file to go on from."
NO_SCORE = "The trial ended without a finite score."


@dataclass(frozen=True)
class Outcomes:
    """Records outcomes. Methods open transactions of their own; threads share an instance."""

    core: Core

    def finish(self, outcome: Outcome, also: Also | None = None) -> None:
        """Record how the work ended, settle its study, tell Optuna, and remove files. A repeat changes nothing.

        Args:
            outcome: the end.
            also: what else belongs to the same transaction, before the end is stored.

        Raises:
            Stale: the lease is over, or the study was deleted.
            Invalid: a file that the outcome names is not whole in the store.
        """
        leases = self.core.leases
        if outcome.status == "lost" and self.core.room.problem() is not None:
            outcome = outcome.model_copy(update={"status": "released"})  # a full disk also kills processes
        if outcome.reason is Reason.DAMAGED:
            outcome = checkpoints.check_damage(self.core, outcome)
        with self.core.database.transaction() as session:
            study = study_rows.lock_of_assignment(session, outcome.id)
            if study is None:
                raise Stale("The study is gone. Drop the work.")
            was_queued = study.state == StudyState.QUEUED and not study.transient
            try:
                row = leases.lock_held(session, outcome.id, outcome.token)
            except Stale:
                if leases.is_recorded(session, outcome):
                    return
                raise
            if also is not None:
                also(session, study, row)
            trial_time.note(row, outcome.timed_seconds)
            outcome = trial_time.judged(study, row, _with_usable_inspection(study, row, outcome))
            is_away = outcome.status == "failed" and outcome.reason is Reason.AWAY
            if is_away:
                outcome = absences.note(session, self.core.database, study, row, outcome)
            elif outcome.status in ("complete", "pruned", "paused"):
                absences.note_success(study, row.worker)
            if not is_away and self.core.judges_workers:
                outcome = second_tries.judged(session, self.core.presence, study, row, outcome)
            if outcome.micro_batch is not None:
                study.micro_batch = min(study.micro_batch or outcome.micro_batch, outcome.micro_batch)
            charged, replaced = row.gpu_seconds_charged or 0.0, row.resume
            state = self._end(session, row, outcome)
            if row.kind not in USES:
                shares.charge(session, study, (row.gpu_seconds_charged or 0.0) - charged)
            if is_away and row.kind in TRAINING and state is TrialState.FAILED:  # a schedule's study waits no longer
                transitions.fail(session, leases, study, row.error or "")
            if state in (TrialState.COMPLETE, TrialState.FAILED) and row.kind in EFFECTS:
                EFFECTS[AssignmentKind(row.kind)](self, session, study, row, outcome)
            has_taken_over = was_queued and study.inspection is not None and study.spec.takes_over is not None
            transitions.settle(session, leases, study)
            superseded: list[AssignmentRow] = []
            if state is not TrialState.QUEUED and (row.best is not None or study.state in ENDED):
                superseded = checkpoints.forget_superseded(session, study)
        self.core.logs.append(study.id, row.id, outcome.log)
        if row.kind == AssignmentKind.EVALUATE and study.model is not None:
            baseline_files.remove(self.core.store, study.id, study.model.assignment)
            if study.spec.confirm is not None and study.spec.confirm.average:
                member_files.remove(self.core.store, study.id, study.model.assignment)
        if state is TrialState.PAUSED:
            self.core.searches.catch_up(study, row)
            if replaced is not None and outcome.resume is not None and replaced.name != outcome.resume.name:
                self.core.store.drop(study.id, row.id, [replaced])
        if row.kind in TRAINING and state in FINISHED:
            if row.kind == AssignmentKind.TRAIN:
                self.core.searches.tell(study, row)
            superseded.append(row)
        checkpoints.remove_unnamed(self.core.store, superseded)
        if row.kind in USES and state in FINISHED:
            predictions.remove_inputs(self.core.store, row)
        if study.state in ENDED:
            self.core.searches.close_study(study)
        elif has_taken_over:
            self.core.searches.mend(study)  # Optuna gets the trials that were taken over before any is drawn

    def _end(self, session: Session, row: AssignmentRow, outcome: Outcome) -> TrialState:
        """Queue a held assignment again, or record its end; return its new state. Raises Stale, Invalid."""
        problem = outcome.problem or NO_REASON
        seconds = max(row.seconds, outcome.seconds)
        if outcome.status in ("released", "lost"):
            lost = outcome.status == "lost"
            return self.core.leases.release(session, row, lost, problem.message, seconds=seconds)
        if outcome.status == "paused":
            return self._pause(session, row, outcome, seconds)
        state = TrialState(outcome.status)
        asked = row.stop_requested and outcome.reason is Reason.BUDGET  # the worker was told to end, and not why
        columns: dict[str, Any] = {
            "reason": Reason.STOPPED if asked else outcome.reason,
            "error": problem.message if outcome.problem or state is TrialState.FAILED else None,
            "problem_path": problem.path or None,
            "seconds": seconds,
        }
        for column in ("peak_memory_bytes", "examples_per_second"):
            if getattr(outcome, column) is not None:
                columns[column] = getattr(outcome, column)
        if row.kind in TRAINING:
            columns["resume"] = None
            if state is TrialState.COMPLETE and row.value is None:
                state = TrialState.FAILED
                columns |= {"reason": Reason.ERROR, "error": NO_SCORE}
        if outcome.comparison is not None:
            self.core.store.require(row.study_id, row.id, outcome.comparison.predictions)
            columns["comparison"] = outcome.comparison
        if outcome.prediction is not None and row.kind == AssignmentKind.PREDICT:
            predictions.record(session, self.core.store, row, outcome.prediction)
        elif row.kind == AssignmentKind.PREDICT and state is TrialState.COMPLETE:
            state = TrialState.FAILED
            columns |= {"reason": Reason.ERROR, "error": predictions.NO_RESULT}
        if row.kind == AssignmentKind.ONNX and state is TrialState.COMPLETE:
            state, found = onnx_files.recorded(self.core.store, row, outcome)
            columns |= found
        self.core.leases.end(session, row, state, **columns)
        return state

    def _pause(self, session: Session, row: AssignmentRow, outcome: Outcome, seconds: float) -> TrialState:
        """Let a held trial wait for its promotion; queue it again where its file is not whole, or it is at no rung.

        A trial whose file does not come again and again is let past its rung, so that it comes to an end.

        Raises:
            Stale: the lease is over.
        """
        study, ref = session.get_one(StudyRow, row.study_id), outcome.resume
        may_pause = study.is_readable and promotions.may_pause(study, row)
        if may_pause and ref is not None and self.core.store.has(row.study_id, row.id, ref):
            return self.core.leases.pause(session, row, ref, seconds)
        if may_pause and row.attempt >= MOST_PAUSES:
            row.passed_rung = row.step
        return self.core.leases.release(session, row, lost=False, error=NO_FILE, seconds=seconds)

    def _start_search(self, session: Session, study: StudyRow, row: AssignmentRow, outcome: Outcome) -> None:
        """Start a locked study that was inspected; without a usable inspection it fails before any trial."""
        if outcome.inspection is None:
            transitions.fail(session, self.core.leases, study, row.error or "The inspection found nothing.")
            return
        study.inspection = outcome.inspection
        if study.state == StudyState.QUEUED:
            study.state = StudyState.PAUSED if study.hold_after_inspection else StudyState.RUNNING
            succession.take_over(session, self.core.leases, self.core.store, study)

    def _store_measurement(self, session: Session, study: StudyRow, row: AssignmentRow, outcome: Outcome) -> None:
        """Store the test scores and the packed model of a locked study's winner; without them the study fails.

        Where the winner's weights are damaged it goes on: `transitions.settle` has them trained again.
        """
        if outcome.evaluation is None and outcome.reason is Reason.DAMAGED:
            retraining.forget_weights(study, winner.winning_assignment(session, study))
            return
        if outcome.evaluation is None:
            transitions.fail_unmeasured(session, self.core.database, study, row.error or "")
            return
        source = winner.winning_assignment(session, study)
        model = outcome.evaluation.model
        self.core.store.require(study.id, source.id, model)
        study.model = StoredModel(**model.model_dump(), assignment=source.id)
        study.earlier = None
        study.test = outcome.evaluation.test
        study.test_looks += study.test is not None
        session.merge(ResultsRow(study_id=study.id, results=outcome.evaluation.results))
        study.noise = winner.noise(study, outcome.evaluation)


Effect = Callable[[Outcomes, Session, StudyRow, AssignmentRow, Outcome], None]

EFFECTS: Mapping[str, Effect] = {
    AssignmentKind.INSPECT: Outcomes._start_search,
    AssignmentKind.EVALUATE: Outcomes._store_measurement,
}
"""Kind -> the change that a complete or failed assignment makes in its study, before the study is settled."""


def _with_usable_inspection(study: StudyRow, row: AssignmentRow, outcome: Outcome) -> Outcome:
    """Return an inspection's outcome, as one of bad data where the study's space does not fit the model."""
    if row.kind != AssignmentKind.INSPECT or outcome.inspection is None:
        return outcome
    try:
        study.spec.resolved_space(outcome.inspection)
    except ValidationError as error:
        fault = invalid(error)
        problem = DataProblem(message=fault.detail, path=list(fault.errors[0].path.split(".")))
        return outcome.model_copy(update={"inspection": None, "reason": Reason.BAD_DATA, "problem": problem})
    return outcome
