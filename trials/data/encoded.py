"""A split as the inputs of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch


@dataclass(frozen=True)
class Encoded:
    """A split as the model's inputs. A unit is what gets one label: an example, or a labelled token of it."""

    columns: Mapping[str, Sequence[Any]]  # input name -> one value per example
    padding: Mapping[str, float]
    labels: torch.Tensor  # (units,) class ids, example after example
    lengths: Sequence[int]  # by which examples are bucketed
    longest: int  # of them, or of the split they were sampled from
    positions: Sequence[Sequence[int]] | None = None  # labelled tokens of each example, ascending; None: one label each
    drawn: bool = False  # `collate` draws at random: the same example has other inputs in every epoch
    constants: Mapping[str, Any] = field(default_factory=dict)  # what `collate` and `scores` need beside the rows

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def starts(self) -> Sequence[int]:
        """Where each example's units start in `labels`, and at last their number."""
        if self.positions is None:
            return range(len(self) + 1)
        return [0, *accumulate(map(len, self.positions))]

    def units(self, rows: Sequence[int]) -> torch.Tensor:
        """Indices into `labels` of the examples' units."""
        if self.positions is None:
            return torch.tensor(rows)
        return torch.cat([torch.arange(self.starts[i], self.starts[i + 1]) for i in rows])

    def select(self, logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """(units, classes) from a batch's (rows, classes), or (rows, tokens, classes) where tokens are labelled."""
        if self.positions is None:
            return logits
        batch = [b for b, i in enumerate(rows) for _ in self.positions[i]]
        return logits[batch, [position for i in rows for position in self.positions[i]]]

    def sample(self, rows: Sequence[int]) -> "Encoded":
        """Some of the examples."""
        columns = {name: [values[i] for i in rows] for name, values in self.columns.items()}
        positions = None if self.positions is None else [self.positions[i] for i in rows]
        lengths, labels = [self.lengths[i] for i in rows], self.labels[self.units(rows)]
        return replace(self, columns=columns, labels=labels, lengths=lengths, positions=positions)
