"""Two equally good models: a comparison promotes one of them in at most 5 % of runs, in metrics of numbers and sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.studies.paired_tests import randomization
from luthier.studies.promotion import Promote
from luthier.studies.protocol import Assignment
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.label_set_targets import LabelSetTargets
from luthier.trials.data.numbers import Numbers
from luthier.trials.jobs import replicates
from luthier.trials.jobs.predictions import Predictions
from luthier.trials.jobs.replicates import Replicates
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.statistics import Statistics
from tests.support.tiers import a_few
from tests.support.trials import Memory

ROWS, LABELS = 80, 3
NOTHING = Encoded(columns={}, padding={}, targets={}, lengths=[], longest=0)


def numbers(draw: torch.Generator, noise: float, true: torch.Tensor) -> Statistics:
    """Return statistics of answers that are off by a noise of this size."""
    return Statistics({"said": true + noise * torch.randn(ROWS, generator=draw, dtype=torch.double), "true": true}, {})


def label_sets(draw: torch.Generator, noise: float, true: torch.Tensor) -> Statistics:
    """Return statistics of answers of which each label has a logit with a noise of this size."""
    margins = true * 2 - 1 + noise * torch.randn(ROWS, LABELS, generator=draw, dtype=torch.double)
    return Statistics({"margins": margins, "labels": true, "loss": torch.zeros(ROWS, dtype=torch.double)}, {})


def promoted(
    assign: Callable[..., Assignment], folder: Path, metric: str, runs: int, noises: tuple[float, float]
) -> float:
    """Return the share of runs on fresh examples in which the challenger is promoted."""
    task = "text-regression" if metric in ("pearson", "spearman") else "text-multilabel-classification"
    targets: Any = Numbers() if task == "text-regression" else LabelSetTargets(("a", "b", "c"))
    won = 0
    for run in range(runs):
        draw = torch.Generator().manual_seed(run)
        random = torch.randn(ROWS, LABELS, generator=draw, dtype=torch.double)
        answers, true = (numbers, random[:, 0]) if task == "text-regression" else (label_sets, random > 0.8)
        models = [Predictions(task_code(task), targets, NOTHING, answers(draw, noise, true)) for noise in noises]
        spec = {"task": task, "objective": {"metric": metric}, "dataset": {"source": "none"}}
        drawn = Replicates(assign(spec=spec, seed=run), Memory(folder), *models, None).draw()
        champion, challenger = (model.scores()[metric] for model in models)
        assert champion is not None
        assert challenger is not None
        test = randomization(challenger - champion, *drawn, Promote().confidence)
        won += test.p_value <= 1 - Promote().confidence
    return won / runs


@pytest.mark.full
@pytest.mark.timeout(120)
@pytest.mark.parametrize("metric", ["micro_f1", "spearman", "map"])
def test_an_equal_challenger_is_promoted_in_at_most_five_percent_of_runs(
    assign: Callable[..., Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    monkeypatch.setattr(replicates, "REPLICATES", 39)
    share = promoted(assign, tmp_path, metric, 150, (1.5, 1.5))
    assert share <= 0.05 + 2 * (0.05 * 0.95 / 150) ** 0.5, "two standard deviations of the share of 150 runs"


@pytest.mark.parametrize("metric", a_few(1, ["pearson", "map"]))
def test_a_better_challenger_is_promoted(
    assign: Callable[..., Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    monkeypatch.setattr(replicates, "REPLICATES", 99)
    assert promoted(assign, tmp_path, metric, 10, (3.0, 0.7)) >= 0.8
