"""Placement: decides which trials share a GPU. As many run as its memory holds, by bytes and not by count.

Called by `claims.py`, and by `reports.py` once a trial's memory is measured. A trial reserves a share of its GPU before
it starts: its study's own share (`resources.gpus`), else the share measured for trials that need at least as much, else
an estimate, else the whole GPU. The shares on one GPU never add up to more than 1. Workers without a GPU run one trial
each, and so do workers on a GPU of unknown size. Nothing is written here; `Leases` stores reservations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.lifecycle import second_tries
from luthier.service.lifecycle.quarantine import Standing
from luthier.service.storage.database import Database
from luthier.service.storage.presence import Presence, host_of
from luthier.service.storage.reservation import Reservation
from luthier.service.storage.service_tables import WorkerRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.gpus import USABLE_SHARE
from luthier.studies.hyperparameters import Params, complete
from luthier.studies.protocol import TRAINING, AssignmentKind, Gpu, TrialState

CONTEXT_BYTES = 512 * 2**20  # held by a process that uses CUDA, before its first tensor and while idle
MEASURED_MARGIN = 1.2  # reserved over measured bytes: the allocator holds more than the tensors in it
ESTIMATE_MARGIN = 1.5  # reserved over estimated bytes
ALIKE_IN_MEMORY = ("optimizer", "strategy", "lora_targets", "lora_variant", "model")  # else memory tells nothing
LATEST_TRIALS = 500  # of a study: their measured memory predicts that of its next trial
ROUNDING = 1e-9  # shares that add up to 1 may sum to a little more


def trial_params(study: StudyRow, params: dict[str, Any]) -> Params:
    """Return every hyperparameter of a trial: its own over the task's defaults, fractions of a depth as blocks.

    Those of an external study are the user's own, and all there are.
    """
    if study.external:
        return params
    return resolved_space(study).assigned(complete(params, study.spec.task_info.baseline))


@dataclass(frozen=True)
class Placement:
    """The GPU of one claim, and the room on it. Methods run in the caller's transaction and write nothing.

    Attributes:
        database: where the rows are.
        presence: which other workers count as present, or wait for work.
        worker: name of the worker that claims.
        gpu: its GPU; None for a worker without one, on which there is always room.
        lease_seconds: of the lease that it asks for; None: as long as all others.
        host: its machine, where it says so.
        standing: what it may do in quarantine: what it gets is a probe; None: it is in none.
    """

    database: Database
    presence: Presence
    worker: str
    gpu: Gpu | None
    lease_seconds: float | None = None
    host: str = ""
    standing: Standing | None = None

    def left_to_others(self, session: Session, rows: Sequence[AssignmentRow]) -> set[int]:
        """Return the ids of those of the queued assignments that this worker must leave to others."""
        host = host_of(self.worker, self.host)
        return second_tries.left_to_others(session, self.presence, rows, self.worker, host, self.standing is not None)

    def reserve(
        self, session: Session, study: StudyRow, kind: AssignmentKind, params: dict[str, Any] | None, lock: bool = False
    ) -> Reservation | None:
        """Choose the part of this worker's GPU that an assignment of the study gets.

        Inspections, evaluations and comparisons reserve nothing and never wait.

        Args:
            session: the caller's transaction.
            study: the study's row, inspected where `kind` is one of `TRAINING`.
            kind: the kind of work.
            params: the trial's configuration; None: the least that any trial of the study may need.
            lock: keep other transactions from reserving on this GPU until this one ends. Without it the answer is a
                guess. The caller must hold the study's row then, as that lock comes first.

        Returns:
            The reservation. None: too little memory is free here, or a worker on an idle GPU waits for work, or a
            worker that has this study's model and data loaded does.
        """
        if self.gpu is None or kind not in TRAINING:
            return Reservation(gpu=None if self.gpu is None else self.gpu.id)
        if lock:
            self.database.serialize(session, self.gpu.id)
        usable = self._usable_bytes(session)
        share = self._needed_share(session, study, params, usable)
        trials, taken = session.execute(
            select(func.count(AssignmentRow.gpu_share), func.sum(AssignmentRow.gpu_share)).where(
                AssignmentRow.gpu == self.gpu.id, AssignmentRow.state == TrialState.RUNNING
            )
        ).one()
        if trials and ((taken or 0.0) + share > 1 + ROUNDING or self._is_another_gpu_idle(session)):
            return None
        if self._does_warm_worker_wait(session, study):
            return None
        return Reservation(self.gpu.id, share, None if usable is None else int(share * usable))

    def _usable_bytes(self, session: Session) -> float | None:
        """Return the bytes that trials may share, without those of each present worker's CUDA context."""
        if self.gpu is None or self.gpu.total_bytes is None:
            return None
        busy = select(AssignmentRow.worker).where(
            AssignmentRow.state == TrialState.RUNNING, AssignmentRow.gpu == self.gpu.id
        )
        present = self.presence.is_present() | WorkerRow.name.in_(busy)
        processes = session.scalar(select(func.count()).where(WorkerRow.gpu == self.gpu.id, present)) or 1
        return max(self.gpu.total_bytes * USABLE_SHARE - processes * CONTEXT_BYTES, 1.0)

    def _needed_share(
        self, session: Session, study: StudyRow, params: dict[str, Any] | None, usable: float | None
    ) -> float:
        """Return the share of the usable memory that a trial needs; 1 where nothing is known about its memory."""
        gpus = study.spec.resources.gpus
        if gpus is not None:
            return gpus
        needed = None if usable is None else needed_bytes(session, study, params)
        return 1.0 if needed is None or usable is None else min(1.0, needed / usable)

    def _is_another_gpu_idle(self, session: Session) -> bool:
        """Return whether a worker waits on a GPU that nothing runs on: a trial alone on its GPU is faster."""
        used = select(AssignmentRow.gpu).where(
            AssignmentRow.state == TrialState.RUNNING, AssignmentRow.gpu.is_not(None)
        )
        waiting = select(WorkerRow.name).where(
            self.presence.is_waiting(), WorkerRow.gpu.is_not(None), WorkerRow.gpu.not_in(used)
        )
        return session.scalar(waiting.limit(1)) is not None

    def _does_warm_worker_wait(self, session: Session, study: StudyRow) -> bool:
        """Return whether a free worker has the study's model and data loaded, on this GPU or on an idle one.

        If so, this worker should not load them too, unless it has them loaded already.
        """
        own = select(AssignmentRow.id).where(AssignmentRow.study_id == study.id, AssignmentRow.worker == self.worker)
        if self.gpu is None or session.scalar(own.limit(1)) is not None:
            return False
        running = AssignmentRow.state == TrialState.RUNNING
        busy = select(AssignmentRow.worker).where(running)
        used = select(AssignmentRow.gpu).where(running, AssignmentRow.gpu.is_not(None))
        has_room = (WorkerRow.gpu == self.gpu.id) | (WorkerRow.gpu.is_not(None) & WorkerRow.gpu.not_in(used))
        warm = (
            select(AssignmentRow.id)
            .join(WorkerRow, WorkerRow.name == AssignmentRow.worker)
            .where(
                AssignmentRow.study_id == study.id,
                AssignmentRow.worker.not_in(busy),
                has_room,
                self.presence.is_waiting() | self.presence.has_just_finished(),
            )
        )
        return session.scalar(warm.limit(1)) is not None


def needed_bytes(session: Session, study: StudyRow, params: dict[str, Any] | None) -> float | None:
    """Return the GPU memory, in bytes, to reserve for a trial of the study.

    Args:
        session: the caller's transaction.
        study: its row, inspected.
        params: the trial's configuration; None: that of the trial that needs the least.

    Returns:
        The least measured by trials that need no less, with a margin; else the larger of the estimate and the
        measurements scaled by batch size, with margins; None when nothing was measured or estimated.
    """
    space = resolved_space(study)
    defaults = study.spec.task_info.baseline

    def in_memory(own: dict[str, Any]) -> Params:
        """Return a full configuration, with the number of examples that are in memory together as its batch size."""
        params = space.assigned(complete(own, defaults))
        batch_size = int(params["batch_size"])
        return {**params, "batch_size": min(batch_size, study.micro_batch or batch_size)}

    trial = None if params is None else in_memory(params)
    latest = (
        select(AssignmentRow.params, AssignmentRow.peak_memory_bytes)
        .where(
            AssignmentRow.study_id == study.id,
            AssignmentRow.kind.in_(TRAINING),
            AssignmentRow.gpu.is_not(None),
            AssignmentRow.peak_memory_bytes.is_not(None),
        )
        .order_by(AssignmentRow.id.desc())
        .limit(LATEST_TRIALS)
    )
    measured = [(in_memory(own), peak) for own, peak in session.execute(latest)]
    sufficient = [peak for other, peak in measured if trial is None or _needs_no_less(other, trial)]
    if sufficient:
        return float(min(sufficient)) * MEASURED_MARGIN
    scaled = [peak * max(1.0, _batch_ratio(trial, other)) * MEASURED_MARGIN for other, peak in measured]
    estimate = _estimated_bytes(study, trial)
    return max(scaled, default=None) if estimate is None else max([estimate * ESTIMATE_MARGIN, *scaled])


def smaller_reservation(row: AssignmentRow, peak_bytes: int) -> Reservation | None:
    """Return the reservation that fits the measured memory of a running trial; None unless it is smaller.

    Args:
        row: the trial's row.
        peak_bytes: the most memory that it has taken so far.
    """
    needed = int(peak_bytes * MEASURED_MARGIN)
    if row.gpu_share is None or row.gpu_bytes is None or peak_bytes * MEASURED_MARGIN >= row.gpu_bytes:
        return None
    return Reservation(row.gpu, row.gpu_share * needed / row.gpu_bytes, needed)


def _needs_no_less(other: Mapping[str, Any], trial: Mapping[str, Any]) -> bool:
    """Return whether a trial of the configuration `other` takes at least the memory of one of `trial`."""
    return (
        other["batch_size"] >= trial["batch_size"]
        and other["max_length"] >= trial["max_length"]
        and other["freeze_depth"] <= trial["freeze_depth"]
        and other["lora_rank"] >= trial["lora_rank"]
        and all(other.get(name) == trial.get(name) for name in ALIKE_IN_MEMORY)
    )


def _batch_ratio(trial: Mapping[str, Any] | None, other: Mapping[str, Any]) -> float:
    """Return the ratio of the examples in memory together: those of `trial` to those of `other`."""
    return 1.0 if trial is None else float(trial["batch_size"]) / float(other["batch_size"])


def _estimated_bytes(study: StudyRow, trial: Mapping[str, Any] | None) -> int | None:
    """Return the inspection's estimate for the trial's batch size, or for the next larger one that it looked at."""
    estimates = None if study.inspection is None else study.inspection.estimates
    if estimates is None or not estimates.batch_sizes:
        return None if estimates is None else estimates.memory_bytes
    fits = estimates.batch_sizes
    if trial is None:
        return fits[0].memory_bytes
    return next((fit for fit in fits if fit.batch_size >= trial["batch_size"]), fits[-1]).memory_bytes
