"""Work taken back: reports, renewals and outcomes.

Our rows are written in one transaction, first; Optuna's storage follows outside of it. A crash between the two is
mended when the study's search is next opened, or by the reaper.
"""

import math
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from luthier.service.dispatch.core import Core
from luthier.service.dispatch.placement import shrunk
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.errors import Stale, invalid
from luthier.service.lifecycle import transitions as lifecycle
from luthier.service.storage.leases import already_finished, changed_rows
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.protocol import (
    ENDED,
    TRAINING,
    Answer,
    AssignmentKind,
    Decision,
    Outcome,
    Problem,
    Reason,
    Renewal,
    Report,
    StudyState,
    TrialState,
)
from luthier.studies.results import Inspection
from luthier.studies.spec import StudySpec, is_better
from luthier.studies.wire import FileRef


@dataclass(frozen=True)
class Reports(Core):
    """Takes work back."""

    def report(self, report: Report) -> Answer:
        """Record an evaluation and extend the lease. A step that is known already is a repeat. Raises Stale."""
        with self.database.transaction() as session:
            row = self.leases.held(session, report.id, report.token)
            study = session.get_one(StudyRow, row.study_id)
            spec = study.spec
            value = report.metrics.get(spec.objective.metric)
            columns: dict[str, Any] = {}
            stale_files: list[FileRef] = []
            if self._is_new(session, report):
                self._log(row, report.log)
                columns, stale_files = self._record(row, spec, report, value)
            self.leases.extend(session, row.id, report.token, seconds=report.seconds, **columns)
            hurry = study.hurry
        self.store.drop(row.study_id, row.id, stale_files)
        if report.micro_batch is not None and report.micro_batch < (study.micro_batch or math.inf):
            self._lower_micro_batch(study.id, report.micro_batch)
        if row.kind != AssignmentKind.TRAIN:  # a repetition runs to its end: the search is over
            return Answer(decision=Decision.CONTINUE, lease_seconds=self.leases.lease_seconds)
        prune = False
        if value is not None:
            prune = self.searches.report(self.searches.get(study), row, report.step, value)
        decision = Decision.STOP if hurry else Decision.PRUNE if prune else Decision.CONTINUE
        return Answer(decision=decision, lease_seconds=self.leases.lease_seconds)

    def _lower_micro_batch(self, study_id: int, micro_batch: int) -> None:
        """Hand out no larger micro-batch for this study. In a transaction of its own: a study's row is locked before
        its assignments', and a report holds one of those."""
        with self.database.transaction() as session:
            lower = StudyRow.micro_batch.is_(None) | (StudyRow.micro_batch > micro_batch)
            changed_rows(
                session, update(StudyRow).where(StudyRow.id == study_id, lower).values(micro_batch=micro_batch)
            )

    def _is_new(self, session: Session, report: Report) -> bool:
        """Insert the report's row, unless the step is there already."""
        insert = self.database.insert(ReportRow).on_conflict_do_nothing().returning(ReportRow.step)
        values = {"assignment_id": report.id, "step": report.step, "metrics": report.metrics, "at": self.database.now()}
        return session.scalar(insert.values(values)) is not None

    def _record(
        self, row: AssignmentRow, spec: StudySpec, report: Report, value: float | None
    ) -> tuple[dict[str, Any], list[FileRef]]:
        """The trial's columns that a new report changes, and the files that no row names any more."""
        for ref in (report.resume, report.best):
            self.store.require(row.study_id, row.id, ref)
        columns: dict[str, Any] = {
            "step": report.step,
            "peak_memory_bytes": report.peak_memory_bytes,
            "examples_per_second": report.examples_per_second,
        }
        if report.peak_memory_bytes is not None and spec.resources.gpus is None:
            columns |= shrunk(row, report.peak_memory_bytes)
        last = spec.objective.measurement == "last"
        if value is not None and (row.value is None or last or is_better(value, row.value, spec.maximize)):
            columns |= {"value": value, "best_step": report.step}
        old = {"resume": row.resume, "best": row.best}
        new, unwanted = dict(old), list[FileRef]()
        for key, ref in (("resume", report.resume), ("best", report.best)):
            if ref is None:
                continue
            if key == "best" and "best_step" not in columns:  # a replay after a lost attempt may come out otherwise
                unwanted.append(ref)
                continue
            new[key] = columns[key] = ref.model_dump()
        if report.resume is not None:
            columns["resume_step"] = report.step
        kept = [ref["name"] for ref in new.values() if ref]
        gone = [FileRef.model_validate(ref) for ref in old.values() if ref and ref["name"] not in kept]
        return columns, gone + unwanted

    def renew(self, renewal: Renewal) -> Answer:
        """Extend the lease. Raises Stale."""
        with self.database.transaction() as session:
            row = self.leases.held(session, renewal.id, renewal.token)
            self._log(row, renewal.log)
            self.leases.extend(session, row.id, renewal.token)
        return Answer(decision=Decision.CONTINUE, lease_seconds=self.leases.lease_seconds)

    def finish(self, outcome: Outcome) -> None:
        """Record how the work ended, tell Optuna, and move the study on. A repeat changes nothing. Raises Stale."""
        with self.database.transaction() as session:
            study = lifecycle.locked_of(session, outcome.id)  # before the assignment, as everywhere
            if study is None:
                raise Stale("The study is gone. Drop the work.")
            try:
                row = self.leases.held(session, outcome.id, outcome.token)
            except Stale:
                if already_finished(session, outcome):
                    return
                raise
            self._log(row, outcome.log)
            if outcome.micro_batch is not None:
                study.micro_batch = min(study.micro_batch or outcome.micro_batch, outcome.micro_batch)
            state = self._end(session, row, outcome)
            if row.kind == AssignmentKind.INSPECT and state in (TrialState.COMPLETE, TrialState.FAILED):
                self._inspected(session, study, row, outcome.inspection)
            elif row.kind == AssignmentKind.EVALUATE and state in (TrialState.COMPLETE, TrialState.FAILED):
                self._evaluated(session, study, row, outcome)
            lifecycle.settle(session, self.leases, study)
            superseded = (
                []
                if state is TrialState.QUEUED or (row.best is None and study.state not in ENDED)
                else self.superseded(session, study)
            )
        if row.kind == AssignmentKind.TRAIN and state is not TrialState.QUEUED:
            self.searches.tell(self.searches.get(study), row)
        if row.kind in TRAINING and state is not TrialState.QUEUED:
            superseded.append(row)
        self.remove_files(superseded)
        if study.state in ENDED:
            self.searches.ended(study)

    def _end(self, session: Session, row: AssignmentRow, outcome: Outcome) -> TrialState:
        problem = outcome.problem or Problem(message="The worker gave no reason.")
        seconds = max(row.seconds, outcome.seconds)
        if outcome.status in ("released", "lost"):
            return self.leases.release(session, row, outcome.status == "lost", problem.message, seconds=seconds)
        state, reason = TrialState(outcome.status), outcome.reason
        error = problem.message if outcome.problem or state is TrialState.FAILED else None
        if row.kind in TRAINING and state is TrialState.COMPLETE and row.value is None:
            state, reason, error = TrialState.FAILED, Reason.ERROR, "The trial ended without a finite score."
        columns: dict[str, Any] = {"reason": reason, "error": error, "problem_path": problem.path or None}
        columns["seconds"] = seconds
        for key in ("peak_memory_bytes", "examples_per_second"):
            if getattr(outcome, key) is not None:
                columns[key] = getattr(outcome, key)
        if row.kind in TRAINING:
            columns["resume"] = None
        if outcome.comparison is not None:
            self.store.require(row.study_id, row.id, outcome.comparison.predictions)
            columns["comparison"] = outcome.comparison
        self.leases.end(session, row, state, **columns)
        return state

    def _inspected(self, session: Session, study: StudyRow, row: AssignmentRow, inspection: Inspection | None) -> None:
        """The study starts, or fails with a sentence before any trial."""
        if inspection is None:
            lifecycle.fail(session, self.leases, study, row.error or "The inspection found nothing.")
            return
        study.inspection = inspection
        try:
            resolved_space(study)
        except ValidationError as error:
            problem = invalid(error)
            row.reason, row.error, row.problem_path = Reason.BAD_DATA, problem.detail, problem.errors[0].path.split(".")
            study.inspection = None  # it is of no use: the space cannot be resolved with it
            lifecycle.fail(session, self.leases, study, problem.detail)
            return
        if study.state == StudyState.QUEUED:
            study.state = StudyState.PAUSED if study.hold else StudyState.RUNNING

    def _evaluated(self, session: Session, study: StudyRow, row: AssignmentRow, outcome: Outcome) -> None:
        if outcome.evaluation is None:
            lifecycle.unmeasured(session, self.database, study, row.error or "")
            return
        winner = lifecycle.winning(session, study)
        self.store.require(study.id, winner.id, outcome.evaluation.model)
        study.model = outcome.evaluation.model.model_dump() | {"assignment": winner.id}
        study.test = outcome.evaluation.test

    def superseded(self, session: Session, study: StudyRow) -> list[AssignmentRow]:
        """Finished trials that still name a checkpoint and do not lead: their files can go."""
        keeping = lifecycle.keeping(session, study)
        finished = select(AssignmentRow).where(AssignmentRow.study_id == study.id, AssignmentRow.kind.in_(TRAINING))
        finished = finished.where(AssignmentRow.best.is_not(None) | AssignmentRow.resume.is_not(None))
        superseded = [
            row
            for row in session.scalars(finished.where(AssignmentRow.state.not_in(lifecycle.ACTIVE)))
            if row.id not in keeping
        ]
        for row in superseded:
            row.best = row.resume = None
        return superseded

    def ended(self, study: StudyRow) -> None:
        """A study was ended by a user: its superseded' files go, and Optuna hears of it."""
        with self.database.transaction() as session:
            superseded = self.superseded(session, session.get_one(StudyRow, study.id))
        self.remove_files(superseded)
        self.searches.ended(study)

    def remove_files(self, trials: list[AssignmentRow]) -> None:
        """Remove the files of these trials that no row names."""
        for trial in trials:
            refs = [FileRef.model_validate(trial.best)] if trial.best else []
            self.store.keep_only(trial.study_id, trial.id, refs)

    def _log(self, row: AssignmentRow, text: str) -> None:
        self.store.append_log(row.study_id, row.id, text)
