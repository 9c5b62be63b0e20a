"""A task that classifies nothing runs through every job: a file with its code, an entry that the service knows."""

import csv
import gzip
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch.nn import functional

from luthier.studies import tasks
from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.strategy import Generation
from luthier.studies.task import Metric, Task
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded, Values, take
from luthier.trials.data.splits import Split
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import Targets
from luthier.trials.files import file_ref
from luthier.trials.jobs.compare import compare
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.tasks import text
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.scoring import Batch, Constant, Reference, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.text_inputs import TextInputs
from luthier.trials.tasks.usage import Usage, call
from luthier.trials.training.model_cache import ModelCache
from tests.support.archives import unpack_tar
from tests.support.tiers import a_few
from tests.support.tiny import tiny_rows
from tests.support.trials import Memory


@dataclass(frozen=True)
class Numbers(Targets):
    """A number for each row; the model learns it in units of the training rows' deviation from their mean."""

    mean: float
    deviation: float

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        values = {name: [float(value) for value in table.columns[columns["label"]]] for name, table in tables.items()}
        train = torch.tensor(values["train"])
        return cls(float(train.mean()), float(train.std())), values

    @classmethod
    def restore(cls, about: Mapping[str, Any]) -> Self:
        return cls(**about["numbers"])

    @property
    def about(self) -> dict[str, Any]:
        return {"numbers": {"mean": self.mean, "deviation": self.deviation}}

    @property
    def identity(self) -> tuple[float, float]:
        return self.mean, self.deviation


class SquaredError(Loss):
    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def weight(self, targets: Tensors) -> float:
        return len(targets["numbers"])

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        wanted = (targets["numbers"] - self._numbers.mean) / self._numbers.deviation
        return functional.mse_loss(outputs["logits"][:, 0], wanted, reduction="sum")


class TextGrading(TextInputs[Numbers]):
    name = "text-grading"
    targets = Numbers

    def head(self, targets: Numbers) -> Head:
        return Head(["grade"], {"problem_type": "regression"})

    def encode_targets(self, rows: Sequence[Any]) -> dict[str, Values]:
        return {"numbers": torch.tensor(rows)}

    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        return {"numbers": torch.as_tensor(take(encoded.targets["numbers"], rows))}

    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        return outputs["logits"]

    def loss(self, pretrained: Pretrained, targets: Numbers, training: Encoded, params: Mapping[str, Any]) -> Loss:
        return SquaredError(targets)

    def answers(self, outputs: Tensors, targets: Tensors) -> Batch:
        return {"said": outputs["logits"][:, 0].float(), "true": targets["numbers"]}

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        return dict(answers)

    def export(
        self,
        pretrained: Pretrained,
        examples: Split,
        targets: Numbers,
        max_length: int,
        generation: Generation,
    ) -> Usage:
        options = {"truncation": True}
        return Usage(
            tag="text-classification",
            auto="AutoModelForSequenceClassification",
            kind="tokenizer",
            processor=text.saved_tokenizer(pretrained, max_length),
            names=("grade",),
            code=f"from transformers import pipeline\n\nprint({call('text-classification', options)}('A text.'))",
            options=options,
        )

    def used(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> list[list[float]]:
        found: list[list[float]] = answers["said"][:, None].tolist()
        return found

    def scores(self, statistics: Statistics, targets: Numbers) -> Metrics:
        true = (statistics.units["true"].double() - targets.mean) / targets.deviation
        said = statistics.units["said"].double()
        correlation = float(torch.corrcoef(torch.stack([true, said]))[0, 1])
        pearson = correlation if math.isfinite(correlation) else None
        return {"pearson": pearson, "loss": float(functional.mse_loss(said, true))}

    def constant(self, training: Sequence[float], targets: Numbers) -> Constant:
        return Constant(f"{targets.mean:.1f}", 0.0)

    def reference_answers(self, reference: Reference, constant: Constant, units: Tensors, targets: Numbers) -> Batch:
        true = (units["numbers"] - targets.mean) / targets.deviation
        said = {Reference.CONSTANT: torch.zeros_like(true), Reference.RIGHT: true, Reference.WRONG: -true}
        return {"said": said[reference].float(), "true": units["numbers"]}

    def truths(self, statistics: Statistics, encoded: Encoded, targets: Numbers) -> Iterable[str]:
        return (f"{number:.3f}" for number in statistics.units["true"].tolist())

    def said(self, statistics: Statistics, encoded: Encoded, targets: Numbers) -> Iterable[str]:
        return (f"{targets.mean + targets.deviation * number:.3f}" for number in statistics.units["said"].tolist())


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Register the task; return its data: sentences with 1 to 2 points for their class, and some for their length."""
    found = tasks.TASKS["text-classification"]
    metrics = (Metric("pearson", True, "Correlation."), Metric("loss", False, "Mean squared error."))
    task = Task("text-grading", "A number for a text.", found.auto, found.columns, metrics, found.baseline)
    monkeypatch.setitem(tasks.TASKS, task.name, task)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "luthier.trials.tasks.text_grading", sys.modules[__name__])
    with (tmp_path / "numbers.csv").open("w", newline="") as file:
        pairs = [(words, 40.0 + 10 * (label == "joy") + len(words) / 50) for words, label in tiny_rows(240)]
        csv.writer(file).writerows([("text", "label"), *pairs])
    return tmp_path / "numbers.csv"


@pytest.mark.full
@pytest.mark.parametrize(("depth", "least", "most"), a_few(1, [(1, 0.3, 6.0), (0, 0.8, 3.0)]))
def test_it_is_inspected_trained_evaluated_packed_and_compared(
    assign: Callable[..., Assignment], rows: Path, tmp_path: Path, depth: int, least: float, most: float
) -> None:
    given = {"spec": {"task": "text-grading", "dataset": {"source": str(rows)}}, "params": {"freeze_depth": depth}}
    warm = ModelCache()
    found = inspect(assign(AssignmentKind.INSPECT, **given), Memory(tmp_path / "inspection"), warm)
    assert (found.label_names, found.labels) == ([], {})
    assert found.majority is not None
    assert float(found.majority.label) == pytest.approx(45.5, abs=1.0), "always answering the mean"
    assert found.majority.validation == {"pearson": None, "loss": pytest.approx(1.0, abs=0.3)}
    models = []
    for side, epochs in (("champion", 1), ("challenger", 4)):
        session, work = Memory(tmp_path / side), given | {"params": {"freeze_depth": depth, "epochs": epochs}}
        assert train(assign(**work), session, warm).status == "complete"
        evaluation = evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **work), session, warm)
        assert evaluation.test is not None
        models.append((evaluation.test, session.folder / "model.tar.gz"))
    (before, first), (after, second) = models
    assert before["pearson"] is not None
    assert after["pearson"] is not None
    assert after["pearson"] > max(least, before["pearson"])
    unpack_tar(second, tmp_path / "unpacked")
    about = json.loads((tmp_path / "unpacked" / "luthier.json").read_text())
    assert about["numbers"]["mean"] == pytest.approx(45.5, abs=1.0)
    assert "label_names" not in about

    session = Memory(tmp_path / "comparison")
    refs = {}
    for side, path in (("champion", first), ("challenger", second)):
        refs[side] = file_ref(path.rename(session.folder / f"{side}.tar.gz"))
    compared = compare(assign(AssignmentKind.COMPARE, **refs, **given), session, ModelCache())
    assert compared.challenger["pearson"] == pytest.approx(after["pearson"], abs=1e-5)
    assert (compared.gained, compared.lost, compared.independent) == (0, 0, True)
    assert len(compared.exchanged) == len(compared.resampled) == 1000
    with gzip.open(session.folder / compared.predictions.name, "rt") as file:
        said = list(csv.DictReader(file))
    assert len(said) == compared.examples
    errors = [abs(float(line["label"]) - float(line["challenger"])) for line in said]
    assert sum(errors) / len(errors) < most, "the winner's numbers are in the data's units"
