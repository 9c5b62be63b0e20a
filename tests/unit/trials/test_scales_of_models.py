"""Where a metric knows no scale, a comparison does not depend on a model's: who is surer of all fares the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.studies.protocol import Assignment
from luthier.studies.semantics import EXCHANGED_ON_ONE_SCALE
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.label_set_targets import LabelSetTargets
from luthier.trials.data.numbers import Numbers
from luthier.trials.jobs import replicates
from luthier.trials.jobs.predictions import Predictions
from luthier.trials.jobs.replicates import Replicates
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.statistics import Statistics
from tests.support.trials import Memory

ROWS = 60
NOTHING = Encoded(columns={}, padding={}, targets={}, lengths=[], longest=0)
NAMES = ("a", "b", "c")
CASES = {  # metric: task, targets, columns of its answers
    "pearson": ("text-regression", Numbers(), 1),
    "spearman": ("text-regression", Numbers(), 1),
    "map": ("text-multilabel-classification", LabelSetTargets(NAMES), 3),
    "auc": ("text-classification", ClassTargets(NAMES[:2]), 2),
    "auc of three": ("text-classification", ClassTargets(NAMES), 3),
}
Assign = Callable[..., Assignment]


def model(name: str, seed: int, scale: float, shift: float) -> Predictions:
    """Return the answers of a model to examples that all models get, with errors of its own."""
    task, targets, width = CASES[name]
    shared, own = (torch.Generator().manual_seed(number) for number in (0, seed))
    true = torch.rand(ROWS, width, generator=shared, dtype=torch.double)
    said = scale * (true + 0.3 * torch.randn(ROWS, width, generator=own, dtype=torch.double)) + shift
    units: Any = {"said": said[:, 0], "true": true[:, 0]}
    if task == "text-multilabel-classification":
        units = {"margins": said, "labels": true > 0.6, "loss": true[:, 0]}
    if task == "text-classification":
        units = task_code(task).statistics({"logits": said.float(), "labels": true.argmax(1)}, NOTHING, ())
    return Predictions(task_code(task), targets, NOTHING, Statistics(units, {}))


def drawn(assign: Assign, folder: Path, name: str, scale: float, semantics: int) -> tuple[list[float], list[float]]:
    """Return the replicates of a comparison whose challenger's answers are on another scale."""
    task = CASES[name][0]
    spec = {"task": task, "objective": {"metric": name.split(maxsplit=1)[0]}, "semantics": semantics}
    models = model(name, 1, 1, 0), model(name, 2, scale, 5 * (scale - 1))
    return Replicates(assign(spec=spec, seed=3), Memory(folder), *models, None).draw()


@pytest.mark.parametrize("name", CASES)
def test_a_comparison_does_not_depend_on_a_models_scale(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(replicates, "REPLICATES", 20)
    # Of three classes a temperature moves the probabilities of a class past each other: only one that is 1 is none.
    scale = 1.0 if name == "auc of three" else 9.0
    plain, scaled = (drawn(assign, tmp_path, name, own, EXCHANGED_ON_ONE_SCALE) for own in (1.0, scale))
    for one, other in zip(plain, scaled, strict=True):
        assert other == pytest.approx(one, abs=1e-9)
    as_they_are = drawn(assign, tmp_path, name, scale, EXCHANGED_ON_ONE_SCALE - 1)
    assert as_they_are[1] == pytest.approx(plain[1], abs=1e-9), "the interval is of each model by itself"
    assert as_they_are[0] != pytest.approx(plain[0], abs=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_a_score_that_is_not_finite_leaves_both_models_as_they_are(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(replicates, "REPLICATES", 3)
    broken = model(name, 2, 1, 0)
    for values in broken.statistics.units.values():
        if values.dtype.is_floating_point:
            values[0] = torch.nan
    spec = {"task": CASES[name][0], "objective": {"metric": name.split(maxsplit=1)[0]}}
    exchanged, _ = Replicates(assign(spec=spec, seed=3), Memory(tmp_path), model(name, 1, 1, 0), broken, None).draw()
    assert exchanged == []
