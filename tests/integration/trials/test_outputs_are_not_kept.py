"""An evaluation reduces the outputs of each batch at once: no split's logits are in memory together."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.studies.protocol import Assignment
from luthier.trials.training import collector, engine
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support.logits import logits_of


def test_outputs_of_a_batch_are_gone_before_the_next(
    assign: Callable[..., Assignment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "HELD_BYTES", 0)
    monkeypatch.setattr(engine, "EVALUATION_BATCH", {"cuda": 4, "cpu": 4})
    alive: list[Any] = []
    most = 0

    add = collector.Collector.add

    def watched(self: Any, rows: Any, answers: Any) -> None:
        alive.append(weakref.ref(answers["logits"]))
        add(self, rows, answers)

    monkeypatch.setattr(collector.Collector, "add", watched)

    def count() -> None:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in alive))

    opened = ModelCache().open(assign())
    split = opened.encoded("train", 64)
    computer = Engine(opened.pretrained.model, opened.task, MicroBatch())
    found = computer.evaluate(split, opened.data.targets, tick=count)
    assert len(alive) > 20
    assert most <= 1
    assert max(values[0].numel() for values in found.units.values()) == 1, "a few numbers for each example"


def test_the_scores_are_those_of_the_logits(assign: Callable[..., Assignment], tmp_path: Path) -> None:
    opened = ModelCache().open(assign())
    split = opened.encoded("train", 64)
    computer = Engine(opened.pretrained.model, opened.task, MicroBatch())
    found = opened.scores(computer.evaluate(split, opened.data.targets))
    logits, labels = logits_of(computer, opened, split), torch.tensor(opened.data.splits["train"].targets)
    assert found["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert found["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), abs=1e-6)
