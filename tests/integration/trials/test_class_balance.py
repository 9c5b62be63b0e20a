"""Trials with focal loss and class-balanced sampling: they resume exactly, and learn the rare class."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.studies.protocol import Assignment, Decision
from luthier.trials.errors import Ended
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.tiny import LABELS, tiny_rows
from tests.support.trials import Memory

Assign = Callable[..., Assignment]


@pytest.fixture
def rare(tmp_path: Path) -> dict[str, object]:
    """Return a data set in which one row of ten has the second label."""
    rows = [row for i, row in enumerate(tiny_rows(400)) if row[1] == LABELS[0] or i % 18 == 1]
    path = tmp_path / "rare.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return {"source": str(path), "test": 0, "validation": 0.3}


@pytest.mark.full
def test_they_resume_exactly_and_an_epoch_has_as_many_steps(
    assign: Assign, rare: dict[str, object], tmp_path: Path
) -> None:
    spec = {"dataset": rare, "evaluations_per_epoch": 2}
    params = {"epochs": 1, "sampling": "balanced", "focal_gamma": 2.0, "class_weighting": "balanced"}
    whole, plain = Memory(tmp_path / "whole"), Memory(tmp_path / "plain")
    train(assign(params=params, spec=spec), whole, ModelCache())
    train(assign(params={"epochs": 1}, spec=spec), plain, ModelCache())
    assert whole.polls == plain.polls, "as many optimizer steps"

    first, second = Memory(tmp_path / "parts", lambda step: Decision.STOP), Memory(tmp_path / "parts")
    with pytest.raises(Ended):
        train(assign(params=params, spec=spec), first, ModelCache())
    train(assign(params=params, spec=spec, attempt=2, checkpoint=first.checkpoint()), second, ModelCache())
    assert first.metrics + second.metrics == whole.metrics


def test_balanced_sampling_learns_a_rare_class_that_shuffling_misses(
    assign: Assign, rare: dict[str, object], tmp_path: Path
) -> None:
    warm, scores = ModelCache(), []
    for sampling in ("shuffled", "balanced"):
        session = Memory(tmp_path / sampling)
        train(
            assign(params={"epochs": 2, "learning_rate": 3e-3, "sampling": sampling}, spec={"dataset": rare}),
            session,
            warm,
        )
        scores.append(session.metrics[-1]["macro_f1"])
    assert scores[0] < 0.6
    assert scores[1] > 0.8
