"""A tiny study of any architecture, for tests over every architecture: model, data and trials."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, TIMM, Architecture, of_models, tiny_data
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
"""The fixture `assign` of tests.support.trials."""


@dataclass
class Study:
    """A tiny model of an architecture, data for it, and what has been computed with both.

    Attributes:
        architecture: The model's architecture.
        spec: The fields of the spec that differ from those of `assign`; a test may change them.
        folder: Holds a folder for each trial.
        assign: Makes assignments.
        warm: The cache that trials use if they are not given another one.
    """

    architecture: Architecture
    spec: dict[str, Any]
    folder: Path
    assign: Assign
    warm: ModelCache

    def trial(self, depth: int, warm: ModelCache | None = None) -> Memory:
        """Train for one epoch with `depth` frozen blocks, in a new folder, and return the session with its reports."""
        session = Memory(self.folder / f"{len(list(self.folder.iterdir()))}")
        assert train(self.work(depth), session, warm or self.warm).status == "complete"
        return session

    def work(self, depth: int, kind: AssignmentKind = AssignmentKind.TRAIN, **fields: Any) -> Assignment:
        """Return an assignment of one epoch with `depth` frozen blocks."""
        params = {"freeze_depth": depth, "epochs": 1, "batch_size": 6, "learning_rate": 1e-3}
        return self.assign(kind, params=params, spec=self.spec, **fields)


def make_study(name: str, folder: Path, assign: Assign) -> Study:
    """Build a study of an architecture in an empty folder.

    Args:
        name: A key of `ARCHITECTURES` or `TIMM`.
        folder: Where model, data and trials are written.
        assign: The fixture of tests.support.trials.
    """
    architecture = (ARCHITECTURES | TIMM)[name]
    spec = {
        "task": architecture.task,
        "model": str(architecture.build(folder / "model")),
        "dataset": {"source": str(tiny_data(architecture.task, folder / "data")), "validation": 0.2, "test": 0.2},
    }
    (folder / "trials").mkdir()
    return Study(architecture, spec, folder / "trials", assign, ModelCache())


@pytest.fixture(params=of_models())
def study(request: pytest.FixtureRequest, tmp_path: Path, assign: Assign) -> Study:
    """A study of each architecture in turn."""
    return make_study(request.param, tmp_path, assign)
