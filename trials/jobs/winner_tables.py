"""The tables of a winner: by class, confusion, calibration, residuals, and the examples to look at, of one split.

`evaluate` makes them from the statistics that the scores are made of, and from how sure each answer is. All of them are
bounded (`studies.winner_tables`). Nothing here runs a model.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from luthier.studies import winner_tables as tables
from luthier.studies.tasks import TASKS
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.splits import Split
from luthier.trials.data.targets import Targets
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.insight import ClassCounts, Pairs
from luthier.trials.tasks.scoring import Batch
from luthier.trials.tasks.statistics import Statistics

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Surenesses:
    """Takes how sure the answers of a split are, batch by batch.

    Args:
        task: The task's code.
        encoded: The split.
    """

    def __init__(self, task: TaskCode[Any], encoded: Encoded) -> None:
        self._task, self._encoded = task, encoded
        self._parts: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(self, rows: Sequence[int], answers: Batch) -> None:
        """Take the answers to a batch of rows."""
        sure = self._task.sureness({name: values.cpu() for name, values in answers.items()})
        if sure is not None:
            self._parts.append((self._encoded.units(rows), sure))

    def values(self) -> torch.Tensor | None:
        """Return how sure each unit's answer is, (units,) float64; None where the task cannot tell."""
        if not self._parts:
            return None
        units, sure = (torch.cat(parts) for parts in zip(*self._parts, strict=True))
        values = torch.empty_like(sure)
        values[units] = sure
        return values


def split_results(
    task: TaskCode[Any],
    split: Split,
    encoded: Encoded,
    statistics: Statistics,
    targets: Targets,
    metrics: Metrics,
    sure: torch.Tensor | None,
) -> tables.SplitResults:
    """Return the tables of a split.

    Args:
        task: The task's code.
        split: The examples.
        encoded: The same as the model's inputs.
        statistics: Of the winner's answers.
        targets: What it has learned.
        metrics: Its scores.
        sure: How sure each unit's answer is, (units,); None where the task cannot tell.
    """
    counts, pairs = task.class_counts(statistics, targets), task.class_pairs(statistics)
    numbers = task.number_pairs(statistics, targets)
    names = targets.label_names
    worst, uncertain = _to_look_at(task, split, encoded, statistics, targets, sure)
    right = None if TASKS[task.name].label_sets else task.right(statistics, targets)  # no row has one probability
    return tables.SplitResults(
        rows=len(split),
        metrics=metrics,
        classes=[] if counts is None else _classes(counts, names),
        confusion=None if pairs is None else _confusion(pairs, names),
        calibration=None if sure is None or right is None or len(right) != len(sure) else _calibration(sure, right),
        residuals=None if numbers is None else _residuals(numbers),
        worst=worst,
        uncertain=uncertain,
    )


def _classes(counts: ClassCounts, names: Sequence[str]) -> list[tables.ClassScores]:
    """Return the scores of each class, the most frequent first."""
    right, predicted, labelled = (values.tolist() for values in counts)
    order = sorted(range(len(names)), key=lambda i: (-labelled[i], i))[: tables.CLASSES]
    return [
        tables.ClassScores(
            label=names[i],
            precision=_share(right[i], predicted[i]),
            recall=_share(right[i], labelled[i]),
            f1=_share(2 * right[i], predicted[i] + labelled[i]),
            support=labelled[i],
            predicted=predicted[i],
        )
        for i in order
    ]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _confusion(pairs: Pairs, names: Sequence[str]) -> tables.Confusion:
    """Return how often units of a class got each class."""
    classes = len(names)
    frequent = torch.bincount(pairs.true.long(), minlength=classes).argsort(descending=True, stable=True)
    kept = sorted(frequent[: tables.CONFUSED].tolist())
    places = torch.full((classes,), len(kept))
    places[torch.tensor(kept)] = torch.arange(len(kept))
    size = len(kept) + (classes > len(kept))
    cells = places[pairs.true.long()] * size + places[pairs.predicted.long()]
    counts: list[list[int]] = torch.bincount(cells, minlength=size * size).reshape(size, size).tolist()
    return tables.Confusion(labels=[*(names[i] for i in kept), *[tables.OTHERS] * (size - len(kept))], counts=counts)


def _calibration(sure: torch.Tensor, right: torch.Tensor) -> tables.Calibration:
    """Return bins of equal width, and the expected calibration error over them (Guo et al. 2017, section 3)."""
    places = (sure * tables.BINS).long().clamp(max=tables.BINS - 1)
    found: list[tables.ConfidenceBin] = []
    error = 0.0
    for place in range(tables.BINS):
        inside = places == place
        count = int(inside.sum())
        confidence = min(1.0, float(sure[inside].mean())) if count else None
        accuracy = float(right[inside].double().mean()) if count else None
        if confidence is not None and accuracy is not None:
            error += count / len(sure) * abs(confidence - accuracy)
        low, high = place / tables.BINS, (place + 1) / tables.BINS
        found.append(tables.ConfidenceBin(low=low, high=high, count=count, confidence=confidence, accuracy=accuracy))
    return tables.Calibration(expected_error=min(1.0, error), bins=found)


def _residuals(numbers: Pairs) -> tables.Residuals | None:
    """Return the quantiles of what predicted numbers miss, and points spread over the true ones."""
    true, said = (values.double() for values in numbers)
    known = torch.isfinite(true) & torch.isfinite(said)
    if not bool(known.any()):
        return None
    true, said = true[known], said[known]
    missed = (said - true).sort().values
    places = {q: q * (len(missed) - 1) for q in QUANTILES}
    quantiles = {
        f"{q:g}": float(torch.lerp(missed[math.floor(at)], missed[math.ceil(at)], at - math.floor(at)))
        for q, at in places.items()
    }
    order = true.argsort(stable=True)
    count = min(tables.POINTS, len(order))
    chosen = order[torch.arange(count) * len(order) // count]
    return tables.Residuals(
        quantiles=quantiles, points=list(zip(true[chosen].tolist(), said[chosen].tolist(), strict=True))
    )


def _to_look_at(
    task: TaskCode[Any],
    split: Split,
    encoded: Encoded,
    statistics: Statistics,
    targets: Targets,
    sure: torch.Tensor | None,
) -> tuple[list[tables.Example], list[tables.Example]]:
    """Return the examples with the worst answers, and those with the least sure ones."""
    bad = task.badness(statistics, targets)
    losses = None if bad is None else _of_examples(bad, statistics, len(split), "mean")
    scores = None if sure is None else _of_examples(sure, statistics, len(split), "min")
    worst = [] if losses is None else _first(-losses)
    uncertain = [] if scores is None else _first(scores)
    wanted = {*worst, *uncertain}
    if not wanted:
        return [], []
    truths = _texts(task.truths(statistics, encoded, targets), statistics, wanted)
    said = _texts(task.said(statistics, encoded, targets), statistics, wanted)
    made = {
        row: tables.Example(
            row=row,
            input=_input(split, row),
            truth=truths[row],
            prediction=said[row],
            score=None if scores is None else _finite(scores[row]),
            loss=None if losses is None else _finite(losses[row]),
        )
        for row in wanted
    }
    return [made[row] for row in worst], [made[row] for row in uncertain]


def _of_examples(values: torch.Tensor, statistics: Statistics, rows: int, how: str) -> torch.Tensor | None:
    """Return the values of examples from those of their units: the mean, or the least; None where they do not fit."""
    values = values.double()
    if len(values) == rows:
        return values
    if statistics.offsets is None or len(values) != int(statistics.offsets[-1]):
        return None
    filled = torch.segment_reduce(values, how, lengths=statistics.offsets.diff())
    return filled.nan_to_num(nan=0.0)


def _first(values: torch.Tensor) -> list[int]:
    """Return the rows with the lowest values, those that are no numbers left out."""
    order: list[int] = values.argsort(stable=True).tolist()
    return [row for row in order if math.isfinite(values[row])][: tables.EXAMPLES]


def _texts(texts: Any, statistics: Statistics, wanted: set[int]) -> dict[int, str]:
    """Return the text of each wanted example, of its units one after another."""
    if statistics.offsets is None:
        return {row: str(text) for row, text in enumerate(texts) if row in wanted}
    every, offsets = list(texts), statistics.offsets.tolist()
    return {row: " ".join(every[offsets[row] : offsets[row + 1]]) for row in wanted}


def _finite(value: torch.Tensor) -> float | None:
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


def _input(split: Split, row: int) -> str:
    """Return an example's input as people recognise it: its texts, or the name of its file."""
    parts = []
    for role, values in split.columns.items():
        value = values[row]
        if isinstance(value, Path):
            parts.append("/".join(value.parts[-2:]))
        elif isinstance(value, bytes):
            parts.append(f"the {role} of row {row + 1}")
        elif isinstance(value, list):
            parts.append(" ".join(str(one["content"] if isinstance(one, dict) else one) for one in value))
        else:
            parts.append(str(value))
    return " | ".join(parts)
