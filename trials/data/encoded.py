"""Encoded splits: examples as a model's inputs, before padding, with their labels.

A task's `encode` makes them, the engine batches them, the prefix cache covers them. They hold no model and no device:
every tensor is on the CPU. A row is one input of the model, a unit gets one label, an example is a row of the data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Self

import torch


@dataclass(frozen=True)
class Encoded:
    """A split as the model's inputs.

    A unit is the thing that gets one label: a row, or a labelled token of a row. A task that needs more for `collate`
    or `scores` adds it in a subclass.

    Attributes:
        columns: Input name -> one value per row.
        padding: Input name -> the value that pads it.
        labels: (units,) class ids, row after row.
        lengths: Length of each row, by which rows are batched.
        longest: The largest of `lengths`, or of the split's that the rows were sampled from.
        positions: The labelled tokens of each row, ascending; None where a row is one unit.
        augmented: `collate` changes each row at random: its inputs differ in every epoch.
    """

    columns: Mapping[str, Sequence[Any]]
    padding: Mapping[str, float]
    labels: torch.Tensor
    lengths: Sequence[int]
    longest: int
    positions: Sequence[Sequence[int]] | None = None
    augmented: bool = False

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lengths)

    @cached_property
    def unit_offsets(self) -> Sequence[int]:
        """The index into `labels` of each row's first unit, and last the number of units: (rows + 1) numbers."""
        if self.positions is None:
            return range(len(self) + 1)
        return [0, *accumulate(map(len, self.positions))]

    @property
    def example_offsets(self) -> Sequence[int]:
        """The index into `labels` of each example's first unit, and last the number of units: (examples + 1) numbers.

        A `range` where each example is one unit. A subclass whose examples have more units overrides it.
        """
        return range(len(self.labels) + 1)

    def units(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the indices into `labels` of the rows' units: (units,)."""
        if self.positions is None:
            return torch.tensor(rows)
        return torch.cat([torch.arange(self.unit_offsets[i], self.unit_offsets[i + 1]) for i in rows])

    def select(self, logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """Return the logits of the rows' units: (units, classes).

        Args:
            logits: The model's output for these rows: (rows, classes), or (rows, tokens, classes) where tokens are
                labelled.
            rows: The rows of the batch, in its order.
        """
        if self.positions is None:
            return logits
        batch = [b for b, i in enumerate(rows) for _ in self.positions[i]]
        return logits[batch, [position for i in rows for position in self.positions[i]]]

    def sample(self, rows: Sequence[int]) -> Self:
        """Return some of the rows as a smaller split, to predict but not to score: `example_offsets` do not change."""
        columns = {name: [values[i] for i in rows] for name, values in self.columns.items()}
        positions = None if self.positions is None else [self.positions[i] for i in rows]
        lengths = [self.lengths[i] for i in rows]
        labels = self.labels[self.units(rows)]
        return replace(self, columns=columns, labels=labels, lengths=lengths, positions=positions)

    def labels_of(self, examples: Sequence[int]) -> tuple[torch.Tensor, Self]:
        """Return the labels of some examples, for their scores.

        Args:
            examples: Numbers of examples; the same one may occur twice.

        Returns:
            The indices into `labels` of the examples' units, (units,), and a split of these labels without inputs.
        """
        units = torch.tensor(examples)
        return units, replace(self, columns={}, labels=self.labels[units])
