"""Views of studies and trials: functions from rows to the schemas of REST.

Routes call them inside their transaction. They read rows, and change none. Those of workers and tasks are in
`fleet_views.py`, those of schedules in schedules/views.py.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.api.model_view import interval_view, model_view
from luthier.service.api.successor_view import taken_over_view
from luthier.service.api.waiting_reasons import waiting_views
from luthier.service.lifecycle import absences, failing_studies, labels, winner
from luthier.service.lifecycle.standings import Standing, standings
from luthier.service.schemas import (
    BaselineView,
    BestView,
    ConfirmedView,
    Counts,
    DataView,
    FileView,
    GainView,
    MajorityView,
    StepView,
    StudyView,
    TakenFrom,
    TrialView,
)
from luthier.service.storage import damaged
from luthier.service.storage.believable import gpu_seconds_of
from luthier.service.storage.column_types import StoredModel
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.service.times import instant
from luthier.studies.findings import warnings_of
from luthier.studies.hyperparameters import complete, in_use
from luthier.studies.noise import Noise, remark
from luthier.studies.protocol import ENDED, Reason, StudyState, TrialState
from luthier.studies.results import Inspection
from luthier.studies.text import one_line
from luthier.studies.wire import TEXT_CHARACTERS, FileRef, cut

log = logging.getLogger("luthier")

SCALARS = (bool, int, float, str)


def study_views(
    session: Session, studies: Sequence[StudyRow], problem: str | None = None, fleet_problem: str | None = None
) -> list[StudyView]:
    """Return the studies with their counts, best trial, baseline and model, in the given order.

    The number of queries does not depend on the number of studies. A row that cannot be shown whole is shown with its
    name and the reason.

    Args:
        session: the transaction to read in.
        studies: their rows.
        problem: why no study of the service goes on now, for the warnings of those that have not ended.
        fleet_problem: likewise why none of those does that our own workers do.
    """
    standing = standings(session, studies)
    waiting = waiting_views(session, studies, problem)
    views = []
    for study in studies:
        try:
            view = _study(study, standing[study.id])
        except damaged.UNREADABLE as error:
            view = _damaged_study(study, error)
        view.waiting = waiting.get(study.id)
        for why in (problem, None if study.external else fleet_problem):
            if why is not None and view.finished_at is None:
                view.warnings.append(why)
        views.append(view)
    return views


def study_view(
    session: Session, study: StudyRow, problem: str | None = None, fleet_problem: str | None = None
) -> StudyView:
    """Return a study as `study_views` does, with what its inspection found of the data, which listings leave out."""
    view = study_views(session, [study], problem, fleet_problem)[0]
    inspection = study.inspection
    if isinstance(inspection, Inspection) and not study.external:
        view.data = data_view(inspection)
    view.taken_over = taken_over_view(session, study)
    return view


def data_view(inspection: Inspection) -> DataView:
    """Return what an inspection found of the data."""
    return DataView(
        rows=inspection.rows,
        labels=inspection.labels,
        max_length=inspection.max_length,
        findings=inspection.findings,
    )


def _study(study: StudyRow, standing: Standing) -> StudyView:
    best = standing.best[0] if standing.best else None
    if study.winner is not None and best is not None:  # its repetitions may have done better than the best trial's
        best = standing.named.get(study.winner)
    baseline = standing.named.get(0)
    return StudyView(
        name=study.name,
        project=study.project,
        state=StudyState(study.state),
        created_at=datetime.fromtimestamp(study.created_at, UTC),
        finished_at=instant(study.finished_at),
        spec=study.spec.model_dump(mode="json"),
        counts=Counts(**standing.counts),
        taken_trials=standing.taken,
        best=None if best is None else _best(study, best),
        confirmed=[
            ConfirmedView(trial=candidate.trial.number, values=candidate.values, mean=fmean(candidate.values))
            for candidate in standing.candidates
            if candidate.values
        ],
        baseline=None if baseline is None else _baseline(study, baseline),
        majority=_majority(study),
        model=model_view(study),
        gpu_seconds=round(standing.gpu_seconds, 3),
        error=_text(study.error),
        message=_message(study),
        warnings=_warnings(study, best),
        parallel=study.parallel,
        tags=labels.tags_of(study),
        notes=study.notes or "",
        weight=study.weight,
        priority=study.priority,
        etag=labels.study_etag(study),
    )


def _warned(study: StudyRow) -> list[str]:
    """Return the warnings of its inspection; nothing where there is none, or it cannot be read."""
    inspection = study.inspection
    return [found.text for found in warnings_of(inspection.findings)] if isinstance(inspection, Inspection) else []


def _damaged_study(study: StudyRow, error: Exception) -> StudyView:
    """Return what can be shown of a study whose row is damaged; a state that is none shows as failed."""
    log.warning("study %d cannot be shown whole: %s", study.id, one_line(error))
    return StudyView(
        name=study.name,
        project=study.project,
        state=StudyState(study.state) if study.state in set(StudyState) else StudyState.FAILED,
        created_at=damaged.instant_or_epoch(study.created_at),
        spec=damaged.stored_object(study.spec),
        counts=Counts(),
        error=damaged.sentence(error),
    )


def _text(text: str | None) -> str | None:
    return None if text is None else cut(text, TEXT_CHARACTERS)


def _message(study: StudyRow) -> str | None:
    """Return why a study has ended or will end; of one that the service has paused, why and the cure."""
    paused = (absences.sentence(study) or failing_studies.sentence(study)) if study.state == StudyState.PAUSED else None
    return _text(paused or study.message)


def _warnings(study: StudyRow, best: AssignmentRow | None) -> list[str]:
    """Return what a study's user should know; what its search or workers lack is of no use once it has ended.

    Args:
        study: its row.
        best: the best trial so far; the winner, once it has ended.
    """
    ended = study.state in ENDED
    first = (
        [winner.verdict(study, best)]
        if ended
        else [absences.sentence(study), failing_studies.sentence(study), study.search_error]
    )
    return [cut(text, TEXT_CHARACTERS) for text in (*first, study.note, *_warned(study)) if text]


def _majority(study: StudyRow) -> MajorityView | None:
    majority = study.inspection.majority if isinstance(study.inspection, Inspection) else None
    if majority is None:
        return None
    value = majority.validation.get(study.spec.objective.metric)
    return MajorityView(label=majority.label, value=value, metrics=majority.validation, test=majority.test)


def _best(study: StudyRow, row: AssignmentRow) -> BestView | None:
    if row.value is None:
        return None
    best = BestView(trial=row.number, value=row.value, params=_params(study, row))
    if row.number != study.winner:
        return best
    best.test = study.test
    best.test_looks = study.test_looks if study.test is not None else None
    noise = study.noise
    if isinstance(noise, Noise) and study.earlier is None:  # else it is of the winner before
        best.standard_error, best.interval = noise.standard_error, interval_view(noise.interval)
        best.gain = None if noise.gain is None else GainView.model_validate(noise.gain.model_dump())
        best.note = remark(study.spec, noise, row.number)
    return best


def _params(study: StudyRow, row: AssignmentRow) -> dict[str, Any]:
    """Return a trial's configuration for people; in an external study all of it counts."""
    return row.params if study.external else in_use(row.params)


def _baseline(study: StudyRow, row: AssignmentRow) -> BaselineView:
    scores = study.noise.baseline if isinstance(study.noise, Noise) else None
    if scores is None:
        return BaselineView(trial=0, value=row.value)
    return BaselineView(trial=0, value=row.value, test=scores.test, interval=interval_view(scores.interval))


def trial_views(session: Session, trials: Sequence[AssignmentRow]) -> list[TrialView]:
    """Return the trials with their scores by step, in the given order.

    A row that cannot be shown whole is shown with its number and the reason.
    """
    reports: dict[int, list[StepView]] = {row.id: [] for row in trials}
    columns = select(ReportRow.assignment_id, ReportRow.step, ReportRow.metrics)
    statement = columns.where(ReportRow.assignment_id.in_(reports)).order_by(ReportRow.step)
    for assignment_id, step, metrics in session.execute(statement):
        reports[assignment_id].append(StepView(step=step, metrics=metrics))
    return _trial_views(session, trials, reports)


def trials_without_values(session: Session, trials: Sequence[AssignmentRow]) -> list[TrialView]:
    """Return the trials as `trial_views` does, without their evaluations: a page reads those thinned."""
    return _trial_views(session, trials, {row.id: [] for row in trials})


def _trial_views(
    session: Session, trials: Sequence[AssignmentRow], reports: dict[int, list[StepView]]
) -> list[TrialView]:
    views = []
    for row in trials:
        try:
            views.append(_trial(row, session.get_one(StudyRow, row.study_id), reports[row.id]))
        except damaged.UNREADABLE as error:
            views.append(_damaged_trial(row, error))
    return views


def _trial(row: AssignmentRow, study: StudyRow, values: list[StepView]) -> TrialView:
    batch = None
    if study.is_readable and not study.external:
        batch = int(complete(row.params, study.spec.task_info.baseline)["batch_size"])
    return TrialView(
        number=row.number,
        state=TrialState(row.state),
        params=_params(study, row),
        value=row.value,
        values=values,
        reason=Reason(row.reason) if row.reason else None,
        error=_text(row.error),
        attempt=row.attempt,
        worker=row.worker,
        started_at=instant(row.started_at),
        finished_at=instant(row.finished_at),
        seconds=round(row.seconds + row.seconds_before, 3),
        gpu_seconds=round(gpu_seconds_of(row), 3),
        seed=row.seed,
        peak_memory_bytes=row.peak_memory_bytes,
        examples_per_second=row.examples_per_second,
        effective_batch=batch,
        micro_batch=min(batch, row.micro_batch or batch) if batch and values else None,
        taken_from=None if row.taken_from is None else TakenFrom.model_validate(row.taken_from),
        retry_of=row.retry_of,
        stopping=row.stop_requested and row.state == TrialState.RUNNING,
        files=_files(row, study),
    )


def _files(row: AssignmentRow, study: StudyRow) -> list[FileView]:
    """Return the files that are kept of a trial."""
    model = study.model if isinstance(study.model, StoredModel) and study.model.assignment == row.id else None
    refs = [ref for ref in (row.best, row.resume, model) if isinstance(ref, FileRef)]
    return [FileView(name=ref.name, bytes=ref.bytes) for ref in refs]


def _damaged_trial(row: AssignmentRow, error: Exception) -> TrialView:
    """Return what can be shown of a trial whose row is damaged; a state that is none shows as failed."""
    log.warning("trial %d of study %d cannot be shown whole: %s", row.number, row.study_id, one_line(error))
    return TrialView(
        number=row.number,
        state=TrialState(row.state) if row.state in set(TrialState) else TrialState.FAILED,
        params={name: value for name, value in damaged.stored_object(row.params).items() if isinstance(value, SCALARS)},
        error=damaged.sentence(error),
    )
