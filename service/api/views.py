"""Views of studies, trials, workers and tasks: functions from rows to the schemas of REST.

Routes call them inside their transaction. They read rows, and change none. The views of schedules are in
schedules/views.py.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.lifecycle import budget, confirmation, winner
from luthier.service.schemas import (
    BaselineView,
    BestView,
    ColumnView,
    ConfirmedView,
    Counts,
    HyperparameterView,
    MetricView,
    ModelView,
    StepView,
    StudyView,
    TaskView,
    TrialView,
    WorkerView,
)
from luthier.service.storage.presence import LISTED_SECONDS
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow, WorkerRow
from luthier.service.times import instant
from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.protocol import AssignmentKind, Reason, StudyState, TrialState
from luthier.studies.tasks import Task


def study_views(session: Session, studies: Sequence[StudyRow], problem: str | None = None) -> list[StudyView]:
    """Return the studies with their counts, best trial, baseline and model, in the given order.

    Args:
        session: the transaction to read in.
        studies: their rows.
        problem: why no study of the service goes on now, for the warnings of those that have not ended.
    """
    ids = [study.id for study in studies]
    counts: dict[int, dict[str, int]] = {study_id: {} for study_id in ids}
    by_state = select(AssignmentRow.study_id, AssignmentRow.state, func.count()).where(
        AssignmentRow.study_id.in_(ids), AssignmentRow.kind == AssignmentKind.TRAIN
    )
    for study_id, state, count in session.execute(by_state.group_by(AssignmentRow.study_id, AssignmentRow.state)):
        counts[study_id][state] = count
    busy = budget.gpu_seconds(session, ids)
    seen = [_study(session, study, counts[study.id], busy.get(study.id, 0.0)) for study in studies]
    for view in seen:
        if problem is not None and view.finished_at is None:
            view.warnings.append(problem)
    return seen


def _study(session: Session, study: StudyRow, counts: dict[str, int], busy: float) -> StudyView:
    """Return one study.

    Args:
        session: the transaction to read in.
        study: its row.
        counts: trial state -> number of trials.
        busy: seconds that workers have spent on its assignments.
    """
    best = winner.best_trial(session, study)
    if study.winner is not None and best is not None and best.number != study.winner:  # its repetitions did better
        best = _trial_row(session, study, study.winner)
    baseline = _trial_row(session, study, 0)
    return StudyView(
        name=study.name,
        state=StudyState(study.state),
        created_at=datetime.fromtimestamp(study.created_at, UTC),
        finished_at=instant(study.finished_at),
        spec=study.spec.model_dump(mode="json"),
        counts=Counts(**counts),
        best=None if best is None else _best(study, best),
        confirmed=[
            ConfirmedView(trial=candidate.trial.number, values=candidate.values, mean=fmean(candidate.values))
            for candidate in confirmation.candidates(session, study)
            if candidate.values
        ],
        baseline=None if baseline is None else BaselineView(trial=0, value=baseline.value),
        model=_model(study),
        gpu_seconds=round(busy, 3),
        error=study.error,
        message=study.message,
        warnings=[text for text in (study.search_error, study.note) if text],
    )


def _trial_row(session: Session, study: StudyRow, number: int) -> AssignmentRow | None:
    return session.scalar(
        select(AssignmentRow).where(
            AssignmentRow.study_id == study.id,
            AssignmentRow.kind == AssignmentKind.TRAIN,
            AssignmentRow.number == number,
        )
    )


def _best(study: StudyRow, row: AssignmentRow) -> BestView | None:
    if row.value is None:
        return None
    test = study.test if row.number == study.winner else None
    return BestView(trial=row.number, value=row.value, params=row.params, test=test)


def _model(study: StudyRow) -> ModelView | None:
    if study.model is None:
        return None
    url = f"/v1/studies/{study.name}/model"
    return ModelView(url=url, sha256=study.model.sha256, bytes=study.model.bytes)


def trial_views(session: Session, trials: Sequence[AssignmentRow]) -> list[TrialView]:
    """Return the trials with their scores by step, in the given order."""
    reports: dict[int, list[StepView]] = {row.id: [] for row in trials}
    statement = select(ReportRow).where(ReportRow.assignment_id.in_(reports)).order_by(ReportRow.step)
    for report in session.scalars(statement):
        reports[report.assignment_id].append(StepView(step=report.step, metrics=report.metrics))
    return [_trial(row, reports[row.id]) for row in trials]


def _trial(row: AssignmentRow, values: list[StepView]) -> TrialView:
    return TrialView(
        number=row.number,
        state=TrialState(row.state),
        params=row.params,
        value=row.value,
        values=values,
        reason=Reason(row.reason) if row.reason else None,
        error=row.error,
        attempt=row.attempt,
        worker=row.worker,
        started_at=instant(row.started_at),
        finished_at=instant(row.finished_at),
        seconds=round(row.seconds + row.seconds_before, 3),
        seed=row.seed,
        peak_memory_bytes=row.peak_memory_bytes,
        examples_per_second=row.examples_per_second,
    )


def worker_views(session: Session, now: float, away_seconds: float) -> list[WorkerView]:
    """Return the workers that sent a message in the last day, by name.

    Args:
        session: the transaction to read in.
        now: the database's time, in seconds since 1970.
        away_seconds: a worker without a trial is `away` after so many seconds of silence.
    """
    held: dict[str, tuple[str, AssignmentRow]] = {}
    running = select(AssignmentRow, StudyRow.name).join(StudyRow).where(AssignmentRow.state == TrialState.RUNNING)
    for row, name in session.execute(running):
        held[row.worker or ""] = (name, row)
    workers = session.scalars(
        select(WorkerRow).where(WorkerRow.seen_at > now - LISTED_SECONDS).order_by(WorkerRow.name)
    )
    return [_worker(row, held.get(row.name), now, away_seconds) for row in workers]


def _worker(row: WorkerRow, held: tuple[str, AssignmentRow] | None, now: float, away_seconds: float) -> WorkerView:
    state = "busy" if held else "idle" if now - row.seen_at < away_seconds else "away"
    return WorkerView(
        name=row.name,
        device=row.device,
        version=row.version,
        state=state,
        study=held[0] if held else None,
        trial=held[1].number if held and held[1].kind == AssignmentKind.TRAIN else None,
        gpu=row.gpu,
        gpu_memory_bytes=row.gpu_bytes,
        reserved_bytes=held[1].gpu_bytes if held else None,
        last_seen_at=datetime.fromtimestamp(min(row.seen_at, now), UTC),
    )


def task_views(tasks: Iterable[Task]) -> list[TaskView]:
    """Return the tasks with their columns, metrics and hyperparameters."""
    hyperparameters: dict[str, Any] = {
        h.name: HyperparameterView(
            default=h.default,
            about=h.about,
            kind=h.kind,
            low=h.low if math.isfinite(h.low) else None,
            high=h.high if math.isfinite(h.high) else None,
            choices=list(h.choices),
        )
        for h in HYPERPARAMETERS.values()
    }
    return [
        TaskView(
            name=task.name,
            about=task.about,
            columns={role: ColumnView(default=name, required=needed) for role, (name, needed) in task.columns.items()},
            metrics=[MetricView(name=m.name, maximize=m.maximize, about=m.about) for m in task.metrics],
            baseline=task.baseline,
            hyperparameters={name: h for name, h in hyperparameters.items() if name not in task.refuses},
        )
        for task in tasks
    ]
