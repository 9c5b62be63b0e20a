"""What a case of tasks_vs_trainer.py is made of: rows, a model, and the task as transformers' own example does it.

A case is one entry in the `CASES` of a module beside this one; each module has the cases of one kind of input.
"""

import csv
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "examples"))

import fetch  # noqa: E402

DATA, MODELS = ROOT / "data", ROOT / "models"
Row = dict[str, Any]
Features = list[dict[str, Any]]


@dataclass(frozen=True)
class Official:
    """A task as transformers' example for it trains and scores it.

    Attributes:
        make: Makes the model with a fresh head; it is called for each trial.
        training: The features of the training rows, made once.
        validation: Those of the validation rows.
        collate: Makes a batch of features.
        score: Makes the metric of `(predictions, labels)`, as the Trainer passes them.
        reduce: Makes of a batch's outputs and labels what the Trainer keeps of them; None: it keeps the outputs.
        processor: Its first input's name is that of the feature by whose length rows are grouped into batches; None:
            they are not grouped.
        writes: The most tokens that `generate` writes for each validation row, which are the predictions; None: no text
            is written.
        joined: Whether the batches' outputs and labels are joined before they are scored; else they are lists, with an
            entry for each batch.
    """

    make: Callable[[], Any]
    training: Features
    validation: Features
    collate: Callable[[Features], dict[str, torch.Tensor]]
    score: Callable[[Any], float]
    reduce: Callable[[Any, Any], Any] | None = None
    processor: Any = None
    writes: int | None = None
    joined: bool = True


@dataclass(frozen=True)
class Case:
    """A task on small data.

    Attributes:
        task: Luthier's name of it.
        metric: What is compared.
        rows: Returns rows with the task's columns, at least as many as are asked for.
        model: Saves a pretrained model with its processor, or returns the folder of one.
        official: (the model's folder, training rows, validation rows) -> the same for the Trainer.
        needs: What examples/fetch.py brings for it.
        params: The configuration, the freeze depth excepted.
        training: Training rows of a short run.
        validation: Validation rows of a short run.
        further: Further entries of the study's dataset.
        writes: The study's `generation`; None: the task's own.
    """

    task: str
    metric: str
    rows: Callable[[int], list[Row]]
    model: Callable[[Path], Path]
    official: Callable[[Path, list[Row], list[Row]], Official]
    needs: tuple[str, ...]
    params: dict[str, Any]
    training: int = 128
    validation: int = 64
    further: dict[str, Any] = field(default_factory=dict)
    writes: dict[str, Any] | None = None

    def splits(self, scale: int) -> tuple[list[Row], list[Row]]:
        """Return training and validation rows, `scale` times as many as in a short run; fetch what is not there."""
        for name in self.needs:
            fetch.KNOWN[name]()
        training, validation = self.training * scale, self.validation * scale
        rows = self.rows(training + 2 * validation)
        known = {name for row in rows[:training] for name in self._labels(row)}
        others = [row for row in rows[training:] if known.issuperset(self._labels(row))][:validation]
        if len(others) < validation:
            raise SystemExit(f"{self.task}: {len(rows)} rows are too few. Lower --scale.")
        return rows[:training], others

    def _labels(self, row: Row) -> list[str]:
        """Return the labels that training must know."""
        return row["label"].split("|") if "label" in row and self.metric != "pearson" else []


def table(name: str, columns: Sequence[str], most: int | None = None) -> list[Row]:
    """Return the rows of a jsonl or csv file in `data/` in a seeded order, with some of their columns.

    Args:
        name: The file.
        columns: Those that are kept.
        most: The most characters of their texts together; None: any.
    """
    path = DATA / name
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(map(json.loads, file)) if path.suffix == ".jsonl" else list(csv.DictReader(file))
    random.Random(0).shuffle(rows)  # noqa: S311 - reproducible, not secret
    kept = [{column: row[column] for column in columns} for row in rows]
    return [row for row in kept if most is None or sum(len(str(value)) for value in row.values()) <= most]


def write(rows: Sequence[Row], path: Path) -> str:
    """Write rows as jsonl, and return the path as a spec has it."""
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def saved(folder: Path, model: Callable[[], Any], processor: Any) -> Path:
    """Save a model with random weights from a fixed seed, and its processor, and return the folder."""
    torch.manual_seed(0)
    model().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def features(inputs: dict[str, Sequence[Any]], labels: Sequence[Any]) -> Features:
    """Return a dictionary for each row, of its inputs and its `labels`."""
    names = list(inputs)
    values = zip(*inputs.values(), strict=True)
    return [dict(zip(names, own, strict=True)) | {"labels": label} for own, label in zip(values, labels, strict=True)]


def accuracy(predicted: Any) -> float:
    """Return the share of rows whose most likely class is theirs."""
    return float(numpy.mean(predicted[0].argmax(-1) == predicted[1]))


def pearson(predicted: Any) -> float:
    """Return Pearson's correlation of outputs and labels, as run_glue.py's metric for STS-B does."""
    from scipy.stats import pearsonr

    return float(pearsonr(predicted[0].squeeze(-1), predicted[1])[0])


def micro_f1(predicted: Any) -> float:
    """Return micro F1 at a probability of one half, as run_classification.py has it."""
    from sklearn.metrics import f1_score

    return float(f1_score(predicted[1], predicted[0] > 0, average="micro", zero_division=0))


def standard(training: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return values in deviations from the training rows' mean, without which a new head first learns the mean."""
    return [(value - numpy.mean(training)) / numpy.std(training) for value in values]


def multi_hot(rows: Sequence[Row], names: Sequence[str], separator: str = "|") -> list[list[float]]:
    """Return 1 for each label that a row has, and 0 for the others."""
    return [[float(name in row["label"].split(separator)) for name in names] for row in rows]


def names_of(rows: Sequence[Row], separator: str | None = None) -> list[str]:
    """Return the labels of the rows in the alphabet's order; `separator` parts several in one text."""
    found = (row["label"].split(separator) if separator else [row["label"]] for row in rows)
    return sorted({name for names in found for name in names if name})


def with_head(auto: Any, folder: Path, **head: Any) -> Callable[[], Any]:
    """Return what loads a model with a head."""
    return lambda: getattr(transformers, auto).from_pretrained(folder, **head)
