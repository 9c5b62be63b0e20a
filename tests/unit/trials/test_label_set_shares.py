"""Rows all of whose labels are right are a share: Wilson's interval, and McNemar's test of two models."""

from collections.abc import Callable
from pathlib import Path

import numpy
import torch

from luthier.studies.intervals import share_error, wilson
from luthier.studies.noise import judged
from luthier.studies.paired_tests import mcnemar
from luthier.studies.protocol import Assignment
from luthier.trials.data.label_set_targets import LabelSetTargets
from luthier.trials.jobs.noise import Noise, Scored, sampling
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.text_multilabel_classification import TextMultilabelClassification
from tests.support.trials import Memory

OBJECTIVE = {"task": "text-multilabel-classification", "objective": {"metric": "subset_accuracy"}}


def answered(draw: numpy.random.Generator, true: torch.Tensor, noise: float, threshold: float) -> Scored:
    """Return a model's answers with a threshold of its own."""
    cut = float(numpy.log(threshold / (1 - threshold)))
    margins = (true.double() * 2 - 1) + torch.from_numpy(draw.normal(0, noise, true.shape)) + cut
    units = {"labels": true, "margins": margins, "loss": torch.zeros(len(true)).double()}
    return Scored(
        TextMultilabelClassification(), LabelSetTargets(("a", "b", "c"), threshold), Statistics(units, {}), None
    )


def test_the_interval_is_wilsons_and_the_gain_is_mcnemars(assign: Callable[..., Assignment], tmp_path: Path) -> None:
    draw = numpy.random.default_rng(2)
    true = torch.from_numpy(draw.random((80, 3)) < 0.4)
    winner, baseline = answered(draw, true, 0.6, 0.3), answered(draw, true, 1.2, 0.5)
    work = assign(spec=OBJECTIVE)
    found = sampling(work, Memory(tmp_path), {"validation": winner, "test": winner}, {"test": baseline})
    value = winner.value("subset_accuracy")
    assert value is not None
    assert 0.3 < value < 1
    assert found.interval == wilson(value, 80)
    assert found.standard_error == share_error(value, 80)
    right, before = (side.task.right(side.statistics, side.targets) for side in (winner, baseline))
    assert right is not None
    assert before is not None
    assert float(right.double().mean()) == value
    pair = found.pair
    assert pair is not None
    assert (pair.gained, pair.lost) == (int((right & ~before).sum()), int((before & ~right).sum()))
    assert pair.independent
    gain = judged(work.spec, found, None).gain
    assert gain is not None
    assert gain.p_value == mcnemar(pair.gained, pair.lost, 80, 0.975).p_value


def test_related_rows_are_no_share(assign: Callable[..., Assignment], tmp_path: Path) -> None:
    draw = numpy.random.default_rng(2)
    alone = answered(draw, torch.from_numpy(draw.random((40, 3)) < 0.4), 0.6, 0.5)
    related = Scored(alone.task, alone.targets, alone.statistics, [str(row // 2) for row in range(40)])
    interval = Noise(assign(spec=OBJECTIVE), Memory(tmp_path)).interval(related)
    assert interval is not None
    assert interval.method == "bca"
