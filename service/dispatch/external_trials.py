"""Trials of external studies: asked for, reported and told by trainers of the user's own, under a lease.

The API calls it. All of it is the workers' protocol (`claims.py`, `reports.py`): here a token is looked up, and what
only such trainers may say is checked and stored within the same transaction: a final score, where they can continue.
"""

from dataclasses import dataclass
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.dispatch.admission import obstacle
from luthier.service.dispatch.claims import Claims
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.external_messages import (
    End,
    Evaluation,
    Scores,
    check_has_objective,
    check_not_ended,
    ended_otherwise,
    why_none,
)
from luthier.service.dispatch.outcomes import Also
from luthier.service.dispatch.reports import Reports
from luthier.service.errors import Conflict, Invalid, Stale, Unavailable
from luthier.service.lifecycle import study_rows
from luthier.service.lifecycle.budget import TrialCounts
from luthier.service.schemas import Fault
from luthier.service.storage.limits import limits_of
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.protocol import (
    ENDED,
    FINISHED,
    Answer,
    Assignment,
    AssignmentKind,
    DataProblem,
    Decision,
    Outcome,
    Reason,
    Renewal,
    Report,
    TrialState,
)
from luthier.studies.wire import MOST_METRICS

SILENT = "The trainer gave no reason."


@dataclass(frozen=True)
class ExternalTrials:
    """Hands out trials of external studies, and takes what their trainers say. Threads share it."""

    core: Core
    claims: Claims
    reports: Reports

    def ask(self, name: str, client: str, lease_seconds: float | None) -> tuple[Assignment, AssignmentRow] | str:
        """Lease a trial to a client; or return why none may start now, as a sentence.

        Args:
            name: the study's name.
            client: the name of the program that asks.
            lease_seconds: how long the lease is to last without a message; None: as long as those of workers.

        Raises:
            NotFound, Conflict: there is no such study, or it is not external.
            Gone: it has ended.
            Unavailable: no trial can be drawn now, for a reason that may pass.
        """
        with self.core.database.reading() as session:
            study = _external(session, name)
        check_not_ended(study)
        assignment = self.claims.ask(study.id, client, lease_seconds)
        with self.core.database.reading() as session:
            study = _external(session, name)
            if assignment is not None:
                return assignment, session.get_one(AssignmentRow, assignment.id)
            is_full = TrialCounts.of(session, study.id)[TrialState.RUNNING] >= study.parallel
            limits = limits_of(session, self.core.database, study.project, study.owner)
            limited = None if is_full else obstacle(session, study, limits, None)
        check_not_ended(study)
        if (shortage := self.core.room.shortage()) is not None:
            raise Unavailable(shortage, retry_after=5)
        if study.search_error is not None:
            raise Unavailable(study.search_error, retry_after=5)
        return why_none(study, is_full) if limited is None else limited.message

    def report(self, name: str, token: str, said: Evaluation) -> Answer:
        """Store an evaluation, or renew the lease where it has none, and decide whether the trial goes on.

        Raises:
            NotFound, Conflict: there is no such study, or it is not external.
            Stale: no running trial of it has this token.
            Invalid: the evaluation lacks the objective, or comes before an earlier one.
        """
        study, row, seconds = self._held(name, token)
        if said.step is None:
            answer = self.reports.renew(Renewal(id=row.id, token=token, log=said.log))
            is_over = study.stop_at_next_evaluation and row.value is not None
            return answer.model_copy(update={"decision": Decision.STOP}) if is_over else answer
        check_has_objective(study, said.metrics)
        report = Report(
            id=row.id, token=token, step=said.step, metrics=dict(said.metrics), seconds=seconds, log=said.log
        )
        answer = self.reports.report(report, _step_noted(said))
        is_no_number = said.metrics[study.spec.objective.metric] is None
        return answer.model_copy(update={"decision": Decision.PRUNE}) if is_no_number else answer

    def tell(self, name: str, token: str, end: End) -> AssignmentRow:
        """Store the end of a trial, and return its row as it is then; a repeat changes nothing.

        Raises:
            NotFound: there is no such study.
            Conflict: it is not external, or the trial has ended otherwise already.
            Stale: no trial of it has this token, or no longer.
            Invalid: it is complete, and has no score.
        """
        study, row, seconds = self._held(name, token)
        if row.state not in FINISHED:
            outcome = self._outcome(study, row, seconds, end)
            self.reports.finish(outcome, self._score_stored(end) if end.state == "complete" else None)
        with self.core.database.reading() as session:
            row = session.get_one(AssignmentRow, row.id)
            last = session.get(ReportRow, (row.id, row.step))
        if row.state in FINISHED and not self._is_same_end(study, row, {} if last is None else last.metrics, end):
            raise ended_otherwise(study, row)
        return row

    def objective(self, name: str) -> str:
        """Return the metric that an external study optimises. Raises NotFound, Conflict."""
        with self.core.database.reading() as session:
            return _external(session, name).spec.objective.metric

    def _outcome(self, study: StudyRow, row: AssignmentRow, seconds: float, end: End) -> Outcome:
        """Return a trial's end in the workers' words. Raises Invalid."""
        status, reason, message = end.state, end.reason, end.message
        metric = study.spec.objective.metric
        if end.metrics and metric not in end.metrics and row.value is None and status == "complete":
            check_has_objective(study, end.metrics)
        told = metric in end.metrics
        is_finite = (end.metrics[metric] if told else row.value) is not None
        if status == "complete" and not told and row.step == 0:
            text = f"is missing: no report gave {metric}, so tell it here, as value; or tell state: failed"
            raise Invalid(f"value: {text}", [Fault(path="value", message=text)])
        diverged = (
            (status == "complete" and not is_finite)
            or (status == "pruned" and self._is_last_score_lost(row, metric))
            or (status == "failed" and reason is Reason.DIVERGED)
        )
        if diverged:  # as our own trainers' are: the sampler learns that the configuration is of no use
            status, reason = "pruned", Reason.DIVERGED
            message = message or f"Its {metric} is not a finite number."
        elif status == "failed":
            reason, message = reason or Reason.ERROR, message or SILENT
        elif status == "complete":
            reason = Reason.BUDGET if study.stop_at_next_evaluation else None
        elif status == "pruned":
            reason = None
        problem = None if message is None else DataProblem(message=message)
        return Outcome(
            id=row.id,
            token=row.token or "",
            status=status,
            reason=reason,
            problem=problem,
            seconds=seconds,
            log=end.log,
        )

    def _is_same_end(self, study: StudyRow, row: AssignmentRow, stored: Scores, end: End) -> bool:
        """Return whether a trial has ended as a trainer says; its words and its log may differ.

        `stored`: the metrics of its last evaluation. A final score of another metric may differ from the stored one,
        which is then that of a report.
        """
        told = self._outcome(study, row, 0.0, end)
        value = end.metrics.get(study.spec.objective.metric)
        is_known = len(stored) >= MOST_METRICS or end.state != "complete" or end.metrics.keys() <= stored.keys()
        has_reason = told.status != "failed" or told.reason == row.reason
        return told.status == row.state and has_reason and is_known and (value is None or value == row.value)

    def _score_stored(self, end: End) -> Also:
        """Return the change that stores the final scores of a complete trial; that of the objective is its score.

        Without any report they are its only evaluation; else they join the metrics of the last one.
        """

        def store(session: Session, study: StudyRow, row: AssignmentRow) -> None:
            value = end.metrics.get(study.spec.objective.metric)
            if value is not None:
                row.value = value
            last = session.get(ReportRow, (row.id, row.step))
            if last is not None:
                further = {name: score for name, score in end.metrics.items() if name not in last.metrics}
                last.metrics = dict(islice((last.metrics | further).items(), MOST_METRICS))
            elif end.metrics:
                row.step = row.best_step = study.spec.steps or 1
                at = self.core.database.time(session)
                session.add(ReportRow(assignment_id=row.id, step=row.step, metrics=dict(end.metrics), at=at))

        return store

    def _is_last_score_lost(self, row: AssignmentRow, metric: str) -> bool:
        """Return whether the last evaluation of a trial had no finite score of the objective."""
        with self.core.database.reading() as session:
            last = session.get(ReportRow, (row.id, row.step))
            return last is not None and last.metrics.get(metric) is None

    def _held(self, name: str, token: str) -> tuple[StudyRow, AssignmentRow, float]:
        """Return a study, its trial of this token, and the seconds since that was handed out. Raises Stale."""
        with self.core.database.reading() as session:
            study = _external(session, name)
            row = session.scalar(
                select(AssignmentRow).where(
                    AssignmentRow.study_id == study.id,
                    AssignmentRow.kind == AssignmentKind.TRAIN,
                    AssignmentRow.token == token,
                )
            )
            now = self.core.database.time(session)
        if row is None and study.state in ENDED:
            raise Stale(f"{name} is {study.state}, and so is this trial: drop the work.")
        if row is None:
            text = "its lease ran out and it was given to another, it was given back, or the token is of another study"
            raise Stale(f"No trial of {name} has this token: {text}. Drop the work, and ask for a new trial.")
        return study, row, max(0.0, now - (now if row.granted_at is None else row.granted_at))


def _external(session: Session, name: str) -> StudyRow:
    """Return the row of an external study. Raises NotFound, Conflict."""
    study = study_rows.find(session, name)
    if not study.external:
        text = "ask, report and tell are for studies with task: external"
        raise Conflict(f"The trials of {name} are for Luthier's own workers; {text}.")
    return study


def _step_noted(said: Evaluation) -> Also:
    """Return the change that notes where a trial can continue. It raises Invalid where the step goes backwards."""

    def note(session: Session, study: StudyRow, row: AssignmentRow) -> None:
        step = said.step or 0
        if step < row.step and row.attempt == 1 and session.get(ReportRow, (row.id, step)) is None:
            text = f"must be above {row.step}, the last one reported; a step that was reported may be repeated"
            raise Invalid(f"step: {text}", [Fault(path="step", message=text)])
        if said.checkpoint is not None:
            row.own_checkpoint = said.checkpoint

    return note
