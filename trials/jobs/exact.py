"""The winner's score as its users would measure it: plain float32, each example as if it were alone.

`evaluate` and `compare` measure with it where the spec's semantics ask for it. Rows go through the model together only
where they have the same length, so that there is no padding whose values an answer could depend on; nothing that is
computed for training (the frozen-prefix cache, shortcuts) is used.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from luthier.studies.results import Batching
from luthier.trials.data.batches import unpadded_batches
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.targets import Targets
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.scoring import Batch
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.usage import Value
from luthier.trials.training.collector import Collector, joined
from luthier.trials.training.engine import Engine
from luthier.trials.training.generation import Writing
from luthier.trials.training.halving import run_halving
from luthier.trials.training.micro_batch import MicroBatch


@torch.no_grad()
def measure(
    model: nn.Module,
    task: TaskCode[Any],
    micro_batch: MicroBatch,
    encoded: Encoded,
    targets: Targets,
    tick: Callable[[], None],
    own: Targets | None = None,
    writing: Writing | None = None,
    seen: Callable[[Sequence[int], Batch], None] | None = None,
) -> Statistics:
    """Return the statistics of a model's answers to a split.

    Args:
        model: On its device; it is left in evaluation mode.
        task: The task's code.
        micro_batch: The number of examples that go through the model together.
        encoded: The split, from the task's `encode_exactly`.
        targets: What is learned from the split's data.
        tick: Called before each batch; it may raise to end the measurement.
        own: What the model has learned; None: the same.
        writing: Which texts the model writes; None: none.
        seen: Called with the rows of each batch and their answers.

    Raises:
        BadData: An example cannot be read.
        torch.OutOfMemoryError: A single example does not fit.
    """
    engine = Engine(model, task, micro_batch, precision="float32")
    model.eval()
    collector = Collector(task, encoded, targets, targets if own is None else own)
    most = 1 if encoded.batching is Batching.SINGLE else engine.evaluation_rows(encoded)
    for rows in unpadded_batches(encoded.lengths, most):
        tick()
        answers = run_halving(_pieces(engine, task, encoded, rows, writing), len(rows), micro_batch, remember=False)
        collector.add(rows, answers)
        if seen is not None:
            seen(rows, answers)
    return collector.statistics()


class ByExample:
    """Takes the answers of a split batch by batch, and gives those of each example as users of the model get them.

    Args:
        task: The task's code, whose `used` makes the values.
        encoded: The split, from the task's `encode_exactly`.
    """

    def __init__(self, task: TaskCode[Any], encoded: Encoded) -> None:
        self._task = task
        self._encoded = encoded
        self._rows: dict[int, Batch] = {}

    def add(self, rows: Sequence[int], answers: Batch) -> None:
        """Take the answers to a batch of rows."""
        offsets = self._encoded.unit_offsets
        on_cpu = {name: values.cpu() for name, values in answers.items()}
        start = 0
        for row in rows:
            end = start + offsets[row + 1] - offsets[row]
            self._rows[row] = {name: values[start:end] for name, values in on_cpu.items()}
            start = end

    def values(self) -> list[list[Sequence[Value | None]]]:
        """Return for each example the values of each of its answers; every row's answers must have come."""
        found: list[list[Sequence[Value | None]]] = []
        for a, b in pairwise(self._encoded.example_offsets):
            rows = rows_between(self._encoded, a, b)
            parts = [self._rows[row] for row in rows]
            found.append(list(self._task.used(joined(parts), self._encoded, rows)) if parts else [])
        return found


def rows_between(encoded: Encoded, first: int, end: int) -> range:
    """Return the rows that have the units from `first` up to `end`."""
    return range(bisect_left(encoded.unit_offsets, first), bisect_left(encoded.unit_offsets, end))


@torch.no_grad()
def answers_alone(
    model: nn.Module,
    task: TaskCode[Any],
    encoded: Encoded,
    tick: Callable[[], None],
    writing: Writing | None = None,
) -> list[list[Sequence[Value | None]]]:
    """Return the answers to each example, computed one row at a time, as the task's `used` has them.

    Args:
        model: On its device; it is left in evaluation mode.
        task: The task's code, whose `used` makes the values.
        encoded: Some examples, from the task's `encode_exactly`.
        tick: Called before each row; it may raise.
        writing: Which texts the model writes; None: none.
    """
    engine = Engine(model, task, MicroBatch(), precision="float32")
    model.eval()
    found: list[list[Sequence[Value | None]]] = []
    for a, b in pairwise(encoded.example_offsets):
        rows = rows_between(encoded, a, b)
        parts = []
        for row in rows:
            tick()
            answers = _pieces(engine, task, encoded, [row], writing)(1)
            parts.append({name: answer.cpu() for name, answer in answers.items()})
        found.append(list(task.used(joined(parts), encoded, rows)) if parts else [])
    return found


def _pieces(
    engine: Engine, task: TaskCode[Any], encoded: Encoded, rows: Sequence[int], writing: Writing | None
) -> Callable[[int], Batch]:
    """Return a function that computes the answers to rows of one length, in pieces of a size."""
    alike = replace(encoded, longest=encoded.lengths[rows[0]])  # a batch is not rounded up beyond its own length

    def answers(piece: Sequence[int]) -> Batch:
        computed = task.answers(*engine.outputs(alike, piece))
        return computed if writing is None else computed | writing.tokens(engine.model, task, alike, piece)

    return lambda size: joined([answers(rows[start : start + size]) for start in range(0, len(rows), size)])
