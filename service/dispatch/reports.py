"""Reports: evaluations and renewals that workers send about the assignments they hold; `outcomes.py` has their ends.

Called by the worker's API. Our rows are written first, in one transaction; Optuna's storage follows outside of it. A
crash between the two is mended when the study's search is opened next, or by the reaper. A message under a lease that
is over changes nothing.
"""

import math
from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.orm import Session

from luthier.service.dispatch import checkpoints
from luthier.service.dispatch.admission import evaluation_fits
from luthier.service.dispatch.outcomes import Also, Outcomes
from luthier.service.dispatch.placement import smaller_reservation
from luthier.service.lifecycle import absences, promotions, retraining, study_rows, transitions, trial_time
from luthier.service.storage.changes import note_report
from luthier.service.storage.database import changed_rows
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.protocol import (
    ENDED,
    Answer,
    AssignmentKind,
    Decision,
    Renewal,
    Report,
    TrialState,
)
from luthier.studies.spec import is_better
from luthier.studies.wire import FileRef


@dataclass(frozen=True)
class Reports(Outcomes):
    """Records reports and outcomes. Methods open transactions of their own; threads share an instance."""

    def report(self, report: Report, also: Also | None = None) -> Answer:
        """Record an evaluation, extend the lease, and decide whether the trial trains on.

        A report of a step that is recorded already changes nothing but the deadline and files, and gets the same
        decision.

        Args:
            report: the evaluation.
            also: what else belongs to the same transaction, before anything of the report is stored.

        Raises:
            Stale: the lease is over.
            Invalid: a file that the report names is not whole in the store.
        """
        core = self.core
        outdated: list[FileRef] = []
        with core.database.transaction() as session, session.no_autoflush:
            row = core.leases.lock_held(session, report.id, report.token)
            study = session.get_one(StudyRow, row.study_id)
            if also is not None:
                also(session, study, row)
            trial_time.note(row, report.timed_seconds)
            value = report.metrics.get(study.spec.objective.metric)
            new = self._insert_report(session, report)
            if new:
                note_report(session, row, report.step)
                outdated = self._record_evaluation(study, row, report, value)
            else:
                outdated = checkpoints.replace(core.store, row, report, value)
            is_retrained = retraining.is_done(session, row, report.step)
            core.leases.extend_changed(session, row, report.seconds)
        if new:
            core.logs.append(study.id, row.id, report.log)
        core.store.drop(study.id, row.id, outdated)
        if report.micro_batch is not None and report.micro_batch < (study.micro_batch or math.inf):
            self._lower_micro_batch(study.id, report.micro_batch)
        if new and study.away is not None:
            self._note_success(study.id, row.worker)
        is_over = trial_time.is_over(study, row) and row.value is not None
        decision = (
            Decision.STOP if is_retrained or is_over else Decision.CONTINUE
        )  # the end of a search ends no repetition
        if row.kind == AssignmentKind.TRAIN:
            prune = value is not None and core.searches.report(study, row, report.step, value)
            is_over = is_over or (study.spec.budget.gpu_seconds is not None and self._is_budget_over(study.id, row))
            if is_over or study.stop_at_next_evaluation or row.stop_requested:
                decision = Decision.STOP
            elif prune:
                decision = Decision.PRUNE
            elif report.step in study.spec.rungs and self._pauses(study.id, row, report.step):
                decision = Decision.PAUSE
        return Answer(decision=decision, lease_seconds=core.leases.lease_seconds_of(row))

    def _insert_report(self, session: Session, report: Report) -> bool:
        """Insert the evaluation's row; return False when the step is there already."""
        insert = self.core.database.insert(ReportRow).on_conflict_do_nothing().returning(ReportRow.step)
        at = self.core.database.now()
        values = {"assignment_id": report.id, "step": report.step, "metrics": report.metrics, "at": at}
        return session.scalar(insert.values(values)) is not None

    def _record_evaluation(
        self, study: StudyRow, row: AssignmentRow, report: Report, value: float | None
    ) -> list[FileRef]:
        """Write a new evaluation into a trial's locked row, and return the files that the row names no more.

        Args:
            study: the trial's study.
            row: the trial.
            report: the evaluation.
            value: its score of the objective; None where that is not finite.

        Raises:
            Invalid: a file that the report names is not whole in the store.
        """
        for ref in (report.resume, report.best):
            self.core.store.require(study.id, row.id, ref)
        objective = study.spec.objective
        improves = value is not None and (
            row.value is None or objective.measurement == "last" or is_better(value, row.value, study.spec.maximize)
        )
        named_before = [row.resume, row.best]
        rejected: list[FileRef] = []
        row.step = report.step
        row.peak_memory_bytes = report.peak_memory_bytes
        row.examples_per_second = report.examples_per_second
        row.micro_batch = report.micro_batch
        if improves:
            row.value = value
            row.best_step = report.step
        if report.resume is not None:
            row.resume = report.resume
            row.resume_step = report.step
        if report.best is not None and improves:
            row.best = report.best
        elif report.best is not None:  # an evaluation repeated after a lost attempt may differ
            rejected.append(report.best)
        if report.peak_memory_bytes is not None and study.spec.resources.gpus is None:
            smaller = smaller_reservation(row, report.peak_memory_bytes)
            if smaller is not None:
                self.core.leases.shrink(row, smaller)
        names = {ref.name for ref in (row.resume, row.best) if ref is not None}
        return [ref for ref in named_before if ref is not None and ref.name not in names] + rejected

    def _is_budget_over(self, study_id: int, row: AssignmentRow) -> bool:
        """Return whether a trial must end at this evaluation for its study's GPU seconds; else reserve its next one.

        Trials that take longer than expected would otherwise pass the limit all together. In a transaction of its own,
        as the study's row is locked first.
        """
        leases = self.core.leases
        with self.core.database.transaction() as session:
            study = study_rows.lock_by_id(session, study_id)
            if study is None or not study.is_readable:
                return False
            transitions.settle(session, leases, study)
            if study.ending is not None or study.state in ENDED:
                return study.stop_at_next_evaluation
            held = session.get_one(AssignmentRow, row.id)
            if held.token != row.token or held.state != TrialState.RUNNING:
                return False
            seconds = evaluation_fits(session, study, held)
            if seconds is not None and seconds > (held.seconds_expected or 0.0):
                leases.expect(session, held, seconds)
            return seconds is None

    def _pauses(self, study_id: int, row: AssignmentRow, step: int) -> bool:
        """Return whether a trial pauses at a rung. In a transaction of its own, as the study's row is locked first.

        Raises:
            Stale: the lease is over.
        """
        leases = self.core.leases
        with self.core.database.transaction() as session:
            study = study_rows.lock_by_id(session, study_id)
            if study is None or not study.is_readable:
                return False
            held = leases.lock_held(session, row.id, row.token or "")
            pauses = promotions.pauses(session, study, held, step)
            transitions.settle(session, leases, study)  # its score, or a higher rung, may let others go on
        return pauses

    def _lower_micro_batch(self, study_id: int, micro_batch: int) -> None:
        """Let later assignments of the study train at most so many examples together.

        This needs a transaction of its own: a study's row is locked before its assignments', and a report's
        transaction has locked one of those.
        """
        with self.core.database.transaction() as session:
            larger = StudyRow.micro_batch.is_(None) | (StudyRow.micro_batch > micro_batch)
            lower = update(StudyRow).where(StudyRow.id == study_id, larger).values(micro_batch=micro_batch)
            changed_rows(session, lower)

    def _note_success(self, study_id: int, worker: str | None) -> None:
        """Note that a worker has what others lack; in a transaction of its own, as above."""
        with self.core.database.transaction() as session:
            study = study_rows.lock_by_id(session, study_id)
            if study is not None:
                absences.note_success(study, worker)

    def renew(self, renewal: Renewal) -> Answer:
        """Extend the lease, then append the worker's log. Raises Stale."""
        with self.core.database.transaction() as session:
            row = self.core.leases.extend(session, renewal.id, renewal.token)
            trial_time.note(row, renewal.timed_seconds)
        self.core.logs.append(row.study_id, row.id, renewal.log)
        return Answer(decision=Decision.CONTINUE, lease_seconds=self.core.leases.lease_seconds_of(row))
