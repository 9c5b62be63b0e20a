"""Assignments over a tiny model and data set, and a session that keeps its messages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Assignment, AssignmentKind, Checkpoint, Decision
from luthier.studies.results import Inspection
from luthier.studies.spec import StudySpec
from luthier.studies.tasks import TASKS
from luthier.studies.wire import FileRef, Metrics
from luthier.trials.errors import Ended
from luthier.trials.files import file_ref
from tests.support.tiny import tiny_csv, tiny_model


class Memory:
    """A session in memory. `decide(step)` may answer a report with a decision to end."""

    def __init__(self, folder: Path, decide: Callable[[int], Decision] = lambda step: Decision.CONTINUE) -> None:
        self.folder, self.decide = folder, decide
        folder.mkdir(parents=True, exist_ok=True)
        self.reports: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.polls = 0
        self.held: list[float] = []

    def report(self, **told: Any) -> None:
        self.reports.append(told)
        decision = self.decide(told["step"])
        if decision not in (Decision.CONTINUE, Decision.PAUSE):
            raise Ended(decision)

    def decided(self) -> Decision:
        return self.decide(self.reports[-1]["step"])

    def poll(self) -> None:
        self.polls += 1

    def hold(self, seconds: float) -> None:
        self.held.append(seconds)

    def log(self, text: str) -> None:
        self.lines.append(text)

    @property
    def metrics(self) -> list[Metrics]:
        return [told["metrics"] for told in self.reports]

    def named(self, kind: str) -> Path:
        """Return the file of a kind (best, resume) that was named last."""
        return next(told[kind] for told in reversed(self.reports) if told[kind])

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint that the service would give to the next attempt."""
        best: FileRef | None = None
        for told in self.reports:
            best = file_ref(told["best"]) if told["best"] else best
        resume = self.reports[-1]["resume"]
        return Checkpoint(step=self.reports[-1]["step"], resume=resume and file_ref(resume), best=best)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Keep torch to one thread: results are the same on every machine, and two test processes share two cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny BERT."""
    return tiny_model(tmp_path_factory.mktemp("model") / "bert")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CSV of 240 rows."""
    return tiny_csv(tmp_path_factory.mktemp("data") / "tiny.csv", rows=240)


@pytest.fixture
def assign(model: Path, data: Path) -> Callable[..., Assignment]:
    """assign(kind, params={...}, spec={...}, **assignment fields)"""

    def make(
        kind: AssignmentKind = AssignmentKind.TRAIN,
        *,
        params: dict[str, Any] | None = None,
        spec: dict[str, Any] | None = None,
        inspection: Inspection | None = None,
        **fields: Any,
    ) -> Assignment:
        document = {
            "name": "tiny",
            "task": "text-classification",
            "model": str(model),
            "dataset": {"source": str(data)},
            "space": {"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}, "epochs": {"low": 1, "high": 4}},
        } | (spec or {})
        chosen = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 3} | (params or {})
        known = {"id": 1, "token": "t", "attempt": 1, "lease_seconds": 60, "study": "tiny", "store": "", "seed": 7}
        return Assignment.model_validate(
            known
            | {"kind": kind, "spec": StudySpec.model_validate(document), "store_mark": "", "inspection": inspection}
            | {"params": complete(chosen, TASKS[document["task"]].baseline)}
            | fields
        )

    return make


@pytest.fixture
def session(tmp_path: Path) -> Memory:
    """Return a session in memory, without decisions."""
    return Memory(tmp_path / "session")
