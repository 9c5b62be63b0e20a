"""Views of the workers and the tasks, made from rows and from the vocabulary of specs.

`operations.py` answers with them.
"""

import math
from collections.abc import Iterable
from typing import Any

from sqlalchemy import case, null, select
from sqlalchemy.orm import Session

from luthier import __version__
from luthier.service.api.worker_notes import common_versions, notes
from luthier.service.lifecycle import quarantine
from luthier.service.schemas import ColumnView, HyperparameterView, MetricView, QuarantineView, TaskView, WorkerView
from luthier.service.storage import damaged
from luthier.service.storage.presence import LISTED_SECONDS
from luthier.service.storage.service_tables import HealthRow, WorkerRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.augmentations import AUGMENTATIONS
from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.protocol import AssignmentKind, TrialState
from luthier.studies.task import Task


def worker_views(session: Session, now: float, away_seconds: float) -> list[WorkerView]:
    """Return the workers that sent a message in the last day, by name. Other projects' studies are not named.

    Args:
        session: the transaction to read in.
        now: the database's time, in seconds since 1970.
        away_seconds: a worker without a trial is `away` after so many seconds of silence.
    """
    held: dict[str, tuple[str | None, AssignmentRow]] = {}
    name = case((StudyRow.is_here(), StudyRow.name), else_=null())
    running = select(AssignmentRow, name).join(StudyRow).where(AssignmentRow.state == TrialState.RUNNING)
    for row, study in session.execute(running):
        held[row.worker or ""] = (study, row)
    health = (HealthRow.worker == WorkerRow.name) & HealthRow.quarantined_at.is_not(None)
    workers = select(WorkerRow, HealthRow).outerjoin(HealthRow, health).order_by(WorkerRow.name)
    rows = session.execute(workers.where(WorkerRow.seen_at > now - LISTED_SECONDS)).all()
    views = [_worker(row, held.get(row.name), sick, now, away_seconds) for row, sick in rows]
    common = common_versions(view.libraries for view in views if view.state != "away")
    for view in views:
        view.notes = notes(view.version, view.libraries, __version__, common)
    return views


def _worker(
    row: WorkerRow,
    held: tuple[str | None, AssignmentRow] | None,
    health: HealthRow | None,
    now: float,
    away_seconds: float,
) -> WorkerView:
    shows_trial = held is not None and held[0] is not None and held[1].kind == AssignmentKind.TRAIN
    state = "busy" if held else "idle" if now - row.seen_at < away_seconds else "away"
    if health is not None and state != "away":
        state = "quarantined"
    return WorkerView(
        name=row.name,
        device=row.device,
        version=row.version,
        state=state,
        study=held[0] if held else None,
        trial=held[1].number if held and shows_trial else None,
        gpu=row.gpu,
        gpu_memory_bytes=row.gpu_bytes,
        reserved_bytes=held[1].gpu_bytes if held else None,
        last_seen_at=damaged.instant_or_epoch(min(row.seen_at, now)),
        host=row.host,
        libraries=row.libraries or {},
        quarantine=None if health is None else _quarantine(health, held),
    )


def _quarantine(health: HealthRow, held: tuple[str | None, AssignmentRow] | None) -> QuarantineView:
    return QuarantineView(
        reason=quarantine.shown_reason(health),
        since=damaged.instant_or_epoch(health.quarantined_at),
        until=damaged.instant_or_epoch(health.until),
        probing=held is not None and held[1].id == health.probe,
    )


def task_views(tasks: Iterable[Task]) -> list[TaskView]:
    """Return the tasks with their columns, metrics and hyperparameters."""
    hyperparameters: dict[str, Any] = {
        h.name: HyperparameterView(
            default=h.shown_default,
            about=h.about,
            kind=h.kind,
            low=h.low if math.isfinite(h.low) else None,
            high=h.high if math.isfinite(h.high) else None,
            choices=list(h.choices),
            pattern=h.pattern,
        )
        for h in HYPERPARAMETERS.values()
    }
    return [
        TaskView(
            name=task.name,
            about=task.about,
            columns={r: ColumnView(default=role.column, required=role.required) for r, role in task.columns.items()},
            metrics=[MetricView(name=m.name, maximize=m.maximize, about=m.about) for m in task.metrics],
            baseline=task.shown_baseline,
            hyperparameters={name: h for name, h in hyperparameters.items() if name not in task.refuses},
            augmentations={name: AUGMENTATIONS[name].about for name in ("none", *task.augmentation_names)},
        )
        for task in tasks
    ]
