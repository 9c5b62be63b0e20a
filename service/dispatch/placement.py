"""Which trials share a GPU: as many as its memory holds, by bytes and not by count.

A trial reserves a share of its GPU before it starts: what its study says (`resources.gpus`), else what trials that
need at least as much have taken, else an estimate, else all of it. The shares on one GPU never add up to more than 1.
Workers without a GPU run one trial each, as do those who have one whose size nobody can tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.storage.database import Database
from luthier.service.storage.tables import AssignmentRow, StudyRow, WorkerRow
from luthier.studies.hyperparameters import Params, complete
from luthier.studies.protocol import TRAINING, AssignmentKind, Gpu, TrialState

USABLE = 0.95  # of a GPU's memory; the driver and the display take some
CONTEXT_BYTES = 512 * 2**20  # what a process that uses CUDA holds before its first tensor, and also while idle
MEASURED_MARGIN = 1.2  # the allocator holds more than the tensors in it
ESTIMATE_MARGIN = 1.5
WAITING_SECONDS = 3.0  # a worker that asked so lately is waiting for work: an idle one asks every second
AWAY_SECONDS = 90.0  # an idle worker not heard of for so long holds no memory any more
TRIALS_LOOKED_AT = 500  # the latest, for what trials take
ROUNDING = 1e-9


def trial_params(study: StudyRow, params: dict[str, Any]) -> Params:
    """Every hyperparameter of a trial: its own over the task's defaults, fractions of a depth as blocks."""
    return resolved_space(study).assigned(complete(params, study.spec.task_info.baseline))


@dataclass(frozen=True)
class Placement:
    """Room on the GPU of one claim; `gpu` None: a worker without one, on which there is always room."""

    database: Database
    worker: str
    gpu: Gpu | None

    def columns(
        self, session: Session, study: StudyRow, kind: AssignmentKind, params: dict[str, Any] | None, lock: bool = False
    ) -> dict[str, Any] | None:
        """An assignment's columns that say where it runs; None when it has to wait, or to run elsewhere.

        `params` None: the least that any trial of the study may need. With `lock` the answer holds until the
        transaction's end; take it after the study's lock. Inspections and evaluations never wait.
        """
        if self.gpu is None or kind not in TRAINING:
            return {"gpu": self.gpu and self.gpu.id, "gpu_share": None, "gpu_bytes": None}
        if lock:
            self.database.serialize(session, self.gpu.id)
        usable = self._usable(session)
        share = self._share(session, study, params, usable)
        running = (AssignmentRow.gpu == self.gpu.id, AssignmentRow.state == TrialState.RUNNING)
        trials, taken = session.execute(
            select(func.count(AssignmentRow.gpu_share), func.sum(AssignmentRow.gpu_share)).where(*running)
        ).one()
        if trials and ((taken or 0.0) + share > 1 + ROUNDING or self._another_is_idle(session)):
            return None
        if self._a_warm_one_waits(session, study):
            return None
        return {"gpu": self.gpu.id, "gpu_share": share, "gpu_bytes": usable and int(share * usable)}

    def _usable(self, session: Session) -> float | None:
        """Bytes that trials may share: without what each worker's process holds by merely being there."""
        if self.gpu is None or self.gpu.total_bytes is None:
            return None
        busy = select(AssignmentRow.worker).where(
            AssignmentRow.state == TrialState.RUNNING, AssignmentRow.gpu == self.gpu.id
        )
        there = (WorkerRow.seen_at > self.database.now() - AWAY_SECONDS) | WorkerRow.name.in_(busy)
        processes = session.scalar(select(func.count()).where(WorkerRow.gpu == self.gpu.id, there)) or 1
        return max(self.gpu.total_bytes * USABLE - processes * CONTEXT_BYTES, 1.0)

    def _share(self, session: Session, study: StudyRow, params: dict[str, Any] | None, usable: float | None) -> float:
        given = study.spec.resources.gpus
        if given is not None:
            return given
        needed = None if usable is None else needed_bytes(session, study, params)
        return 1.0 if needed is None or usable is None else min(1.0, needed / usable)

    def _another_is_idle(self, session: Session) -> bool:
        """Whether a worker waits on a GPU that nothing runs on: a trial alone on its GPU is faster."""
        busy = select(AssignmentRow.gpu).where(
            AssignmentRow.state == TrialState.RUNNING, AssignmentRow.gpu.is_not(None)
        )
        waiting = select(WorkerRow.name).where(WorkerRow.seen_at > self.database.now() - WAITING_SECONDS)
        waiting = waiting.where(WorkerRow.gpu.is_not(None), WorkerRow.gpu.not_in(busy))
        return session.scalar(waiting.limit(1)) is not None

    def _a_warm_one_waits(self, session: Session, study: StudyRow) -> bool:
        """Whether another worker has the study's model and data in memory, has nothing to do, and as much room: it has
        this GPU, or one that nothing runs on. Then this one need not load them, too."""
        done = select(AssignmentRow.id).where(AssignmentRow.study_id == study.id, AssignmentRow.worker == self.worker)
        if self.gpu is None or session.scalar(done.limit(1)) is not None:
            return False
        running, now = AssignmentRow.state == TrialState.RUNNING, self.database.now()
        busy, used = (
            select(AssignmentRow.worker).where(running),
            select(AssignmentRow.gpu).where(running, AssignmentRow.gpu.is_not(None)),
        )
        waits = (WorkerRow.seen_at > now - WAITING_SECONDS) | (AssignmentRow.finished_at > now - WAITING_SECONDS)
        place = (WorkerRow.gpu == self.gpu.id) | (WorkerRow.gpu.is_not(None) & WorkerRow.gpu.not_in(used))
        warm = (
            select(AssignmentRow.id)
            .join(WorkerRow, WorkerRow.name == AssignmentRow.worker)
            .where(AssignmentRow.study_id == study.id, place, waits)
        )
        return session.scalar(warm.where(AssignmentRow.worker.not_in(busy)).limit(1)) is not None


def needed_bytes(session: Session, study: StudyRow, params: dict[str, Any] | None) -> float | None:
    """GPU memory to reserve for a trial; None when nothing is known of it. `params` None: for the least needy one."""
    space, defaults = resolved_space(study), study.spec.task_info.baseline

    def whole(own: dict[str, Any]) -> Params:
        """A configuration with the examples that are in memory at once for its batch size."""
        params = space.assigned(complete(own, defaults))
        return {**params, "batch_size": min(int(params["batch_size"]), study.micro_batch or int(params["batch_size"]))}

    wanted = None if params is None else whole(params)
    of_study = (
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind.in_(TRAINING),
        AssignmentRow.gpu.is_not(None),
        AssignmentRow.peak_memory_bytes.is_not(None),
    )
    latest = (
        select(AssignmentRow.params, AssignmentRow.peak_memory_bytes)
        .where(*of_study)
        .order_by(AssignmentRow.id.desc())
        .limit(TRIALS_LOOKED_AT)
    )
    measured = [(whole(own), peak) for own, peak in session.execute(latest)]
    alike = [peak for known, peak in measured if wanted is None or _needs_no_less(known, wanted)]
    if alike:
        return float(min(alike)) * MEASURED_MARGIN
    estimate = _estimate(study, wanted)
    most = [peak * max(1.0, _ratio(wanted, known)) * MEASURED_MARGIN for known, peak in measured]
    return max(most, default=None) if estimate is None else max([estimate * ESTIMATE_MARGIN, *most])


def shrunk(row: AssignmentRow, peak: int) -> dict[str, Any]:
    """The columns of a running trial that has reserved more than it turns out to take."""
    if row.gpu_share is None or row.gpu_bytes is None or peak * MEASURED_MARGIN >= row.gpu_bytes:
        return {}
    size = int(peak * MEASURED_MARGIN)
    return {"gpu_bytes": size, "gpu_share": row.gpu_share * size / row.gpu_bytes}


def _needs_no_less(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a trial of `known` takes at least the memory of one of `wanted`."""
    return (
        known["batch_size"] >= wanted["batch_size"]
        and known["max_length"] >= wanted["max_length"]
        and known["freeze_depth"] <= wanted["freeze_depth"]
        and all(known.get(name) == wanted.get(name) for name in ("optimizer", "strategy", "model"))
    )


def _ratio(wanted: Mapping[str, Any] | None, known: Mapping[str, Any]) -> float:
    return 1.0 if wanted is None else float(wanted["batch_size"]) / float(known["batch_size"])


def _estimate(study: StudyRow, wanted: Mapping[str, Any] | None) -> int | None:
    """What the inspection found that a trial of this batch size takes, or the next larger one that it looked at."""
    estimates = None if study.inspection is None else study.inspection.estimates
    if estimates is None or not estimates.batch_sizes:
        return None if estimates is None else estimates.memory_bytes
    fits = estimates.batch_sizes
    if wanted is None:
        return fits[0].memory_bytes
    return next((fit for fit in fits if fit.batch_size >= wanted["batch_size"]), fits[-1]).memory_bytes
