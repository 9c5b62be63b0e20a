"""Luthier in a replay: the service's own claims, reports and outcomes over SQLite, without HTTP and with a moved clock.

A `House` is a service's core in this process. Studies run in it one after the other. Their workers' messages are the
protocol's own, so the search, the budget, pruning and pausing are the product's code. Nothing is trained, and the
winner is not measured.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from curve_files import Curve
from curve_tasks import SPACE, CurveTask
from replay_clock import Job
from replay_table import Case
from sqlalchemy import select

from luthier.service.dispatch import deletion
from luthier.service.dispatch.claims import Claims
from luthier.service.dispatch.reports import Reports
from luthier.service.lifecycle import actions, transitions
from luthier.service.server.app import build_core
from luthier.service.settings import Settings
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import ENDED, Assignment, AssignmentKind, Claim, Outcome, Reason, Report
from luthier.studies.results import Inspection
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.studies.spec import StudySpec
from luthier.studies.wire import FileRef

MEMORY = Path("/dev/shm")  # noqa: S108 - a database that nobody else reads
PARAMETERS = 1_000_000
"""Of a block of the models that are replayed; only ratios count."""


def spec_of(task: CurveTask, fragment: dict[str, Any], case: Case, name: str) -> StudySpec:
    """Return the study's spec. Raises ValueError where this version knows no such fragment."""
    whole: dict[str, Any] = {
        "name": name,
        "task": task.task,
        "model": "models/recorded",
        "dataset": {"source": "data/recorded.csv"},
        "space": SPACE | task.fixed,
        "seed": case.seed,
        "budget": {"wall_clock_seconds": case.gpu_seconds / case.workers},
        "parallel": case.workers,
        "evaluations_per_epoch": task.evaluations_per_epoch,
    }
    return StudySpec.model_validate(whole | fragment | {"semantics": NEWEST_SEMANTICS})


def inspection(case: Case) -> Inspection:
    """Return what the inspection of the recorded model and data finds."""
    depth, baseline = case.table.depth, case.table.curves[0]
    parts = {"train": baseline.examples[0] * case.table.evaluations_per_epoch, "validation": 200, "test": 200}
    return Inspection.model_validate(
        {
            "blocks": [{"name": f"layer.{i}", "parameters": PARAMETERS} for i in range(depth)],
            "trainable_parameters": [PARAMETERS * (depth - i) + 10_000 for i in range(depth + 1)],
            "label_names": ["a", "b"],
            "labels": {"a": 50, "b": 50},
            "rows": parts,
            "fingerprint": "f" * 64,
            "estimates": {"seconds_per_trial": case.table.seconds(baseline)[-1]},
        }
    )


class House:
    """A service's core on a database of its own, whose clock is moved."""

    def __init__(self) -> None:
        place = MEMORY if MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="replay-", dir=place))
        self.core = build_core(Settings(home=self.folder, lease_seconds=3600))
        self.claims, self.reports = Claims(self.core), Reports(self.core)
        self.core.searches.heartbeat()  # the reaper's: no other service writes to this database
        self._start = time.time()
        self._names = count()

    def set_clock(self, seconds: float) -> None:
        """Let the database's clock stand so many seconds after the current study's begin."""
        self.core.database.clock_offset = self._start + seconds - time.time()

    def begin(self, task: CurveTask, fragment: dict[str, Any], case: Case) -> str:
        """Create and inspect a study, at second 0, and return its name."""
        self._start = max(time.time(), self._start + 2 * case.gpu_seconds)  # the clock never goes back
        self.set_clock(0)
        spec = spec_of(task, fragment, case, f"replay-{next(self._names)}")
        with self.core.database.transaction() as session:
            transitions.create(session, self.core.leases, spec, spec.name)
        work = self.claims.claim(Claim(worker="worker-0"))
        assert work is not None
        assert work.kind is AssignmentKind.INSPECT
        self.reports.finish(Outcome(id=work.id, token=work.token, status="complete", inspection=inspection(case)))
        return spec.name

    def end(self, name: str) -> None:
        """Cancel and delete a study, so that the next one is alone."""
        with self.core.database.transaction() as session:
            study = session.scalars(select(StudyRow).where(StudyRow.name == name)).one()
            if study.state not in ENDED:
                actions.cancel(session, self.core.leases, study)
        deletion.delete_study(self.core, study)

    def close(self) -> None:
        """Close the database and remove it."""
        self.core.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class LuthierSide:
    """A study of a house, asked and told by the workers' messages.

    Args:
        house: Whose study it is.
        case: What is searched.
        task: The recorded task.
        fragment: Of the spec, in place of the defaults.
    """

    def __init__(self, house: House, case: Case, task: CurveTask, fragment: dict[str, Any]) -> None:
        self._house, self._case = house, case
        self.name = house.begin(task, fragment, case)
        self._used: set[int] = set()
        self._curves: dict[int, Curve] = {}  # by trial
        self._best: dict[int, float] = {}

    def curves(self, trials: Sequence[AssignmentRow]) -> list[Curve]:
        """Return the curves that trials were given."""
        return [self._curves[trial.number or 0] for trial in trials]

    def claim(self, worker: int, now: float) -> Job | None:
        """Claim as a worker does; what is no training ends the search."""
        self._house.set_clock(now)
        work = self._house.claims.claim(Claim(worker=f"worker-{worker}"))
        if work is None or work.kind is not AssignmentKind.TRAIN:
            return None
        number = work.number or 0
        if number not in self._curves:
            self._curves[number] = self._case.table.nearest(work.params, self._used)
        return Job(self._curves[number], work.checkpoint.step, work)

    def report(self, job: Job, value: float, now: float) -> str:
        """Report an evaluation, and return the service's decision."""
        self._house.set_clock(now)
        work: Assignment = job.held
        seconds = self._case.table.seconds(job.curve)
        began = seconds[work.checkpoint.step - 1] if work.checkpoint.step else 0.0
        number = work.number or 0
        improves = value > self._best.get(number, -1.0)
        self._best[number] = max(value, self._best.get(number, -1.0))
        answer = self._house.reports.report(
            Report(
                id=work.id,
                token=work.token,
                step=job.step,
                metrics={"accuracy": value, "loss": job.curve.losses[job.step - 1]},
                seconds=seconds[job.step - 1] - began,
                best=self._file(work, f"best-{job.step}") if improves else None,
            )
        )
        return str(answer.decision.value)

    def finish(self, job: Job, how: str, now: float) -> None:
        """Send the outcome."""
        self._house.set_clock(now)
        work: Assignment = job.held
        seconds = self._case.table.seconds(job.curve)
        began = seconds[work.checkpoint.step - 1] if work.checkpoint.step else 0.0
        told: dict[str, Any] = {"status": "complete"}
        if how == "prune":
            told = {"status": "pruned"}
        elif how == "diverged":
            told = {"status": "pruned", "reason": Reason.DIVERGED}
        elif how == "pause":
            told = {"status": "paused", "resume": self._file(work, f"resume-{job.step}")}
        elif how != "complete":
            told["reason"] = Reason.BUDGET
        elif job.step < int(work.params["epochs"]) * self._case.table.evaluations_per_epoch:
            told["reason"] = Reason.EARLY_STOPPING  # the nearest that was left has fewer epochs
        outcome = Outcome(id=work.id, token=work.token, seconds=seconds[job.step - 1] - began, **told)
        self._house.reports.finish(outcome)

    @staticmethod
    def _file(work: Assignment, name: str) -> FileRef:
        """Write a small file in place of a checkpoint."""
        content = f"{work.number} {name}".encode()
        folder = Path(work.store)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        return FileRef(name=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
