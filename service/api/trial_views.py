"""Views of trials: functions from their rows to the schemas of REST.

Routes call them inside their transaction, as those of `views.py`. They read rows, and change none.
"""

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.schemas import FileView, StepView, TakenFrom, TrialView
from luthier.service.storage import damaged
from luthier.service.storage.believable import gpu_seconds_of
from luthier.service.storage.column_types import StoredModel
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.service.times import instant
from luthier.studies.hyperparameters import complete, in_use
from luthier.studies.protocol import Reason, TrialState
from luthier.studies.text import one_line
from luthier.studies.wire import TEXT_CHARACTERS, FileRef, cut

log = logging.getLogger("luthier")

SCALARS = (bool, int, float, str)


def shown_text(text: str | None) -> str | None:
    """Return a stored sentence for people, cut to what fits there."""
    return None if text is None else cut(text, TEXT_CHARACTERS)


def shown_params(study: StudyRow, row: AssignmentRow) -> dict[str, Any]:
    """Return a trial's configuration for people; in an external study all of it counts."""
    return row.params if study.external else in_use(row.params)


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
        params=shown_params(study, row),
        value=row.value,
        values=values,
        reason=Reason(row.reason) if row.reason else None,
        error=shown_text(row.error),
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
