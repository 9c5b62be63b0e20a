"""Encoded splits: examples as a model's inputs, before padding, with what is learned from them.

A task's `encode` makes them, the engine batches them, the prefix cache covers them. They hold no model and no device:
every tensor is on the CPU. A row is one input of the model, a unit gets one answer, an example is a row of the data.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch

from luthier.studies.hyperparameters import Params
from luthier.studies.results import Batching

Values = Sequence[Any] | torch.Tensor
"""One value per row: a list, or a tensor whose first dimension is the rows."""


@dataclass(frozen=True, kw_only=True)
class Changes(ABC):
    """Random changes of a training batch, drawn before it is cut into pieces, so that pieces change nothing.

    Attributes:
        rate: How strong they are, from 0 to 1; each kind says of what it is a share.
    """

    rate: float = 0.1

    @property
    def tokens(self) -> frozenset[int]:
        """Token ids that a changed batch may have and the split does not."""
        return frozenset()

    def tuned(self, params: Params) -> Self:
        """Return them as strong as a configuration says."""
        return replace(self, rate=float(params["augmentation_rate"]))

    def sample(self, rows: Sequence[int]) -> Self:
        """Return them for a split of some of the rows."""
        return self

    @abstractmethod
    def draw(self, encoded: Any) -> "Encoded":
        """Return a batch, changed at random by the generator of the module `random`, as a split without changes.

        Args:
            encoded: The batch's rows, and no others.
        """


@dataclass(frozen=True)
class Encoded:
    """A split as the model's inputs.

    A unit is the thing that gets one answer: a row, or a labelled token of a row. A task whose rows have several units,
    or whose examples have several rows, overrides the offsets in a subclass.

    Attributes:
        columns: Input name -> one value per row.
        padding: Input name -> the value that pads it.
        targets: Target name -> one value per row; only the task knows what they are.
        lengths: Length of each row, by which rows are batched: of its first input, if that is padded.
        own_lengths: Those of rows that are all padded to one length, though they need not be; None: they need, or are
            not.
        longest: The largest of `lengths`, or of the split's that the rows were sampled from.
        augmented: Rows are changed at random, by `collate` or by `changes`: inputs differ in every epoch.
        batching: How rows are put into batches.
        further_lengths: Input name -> length of each row of that input, for an input that is padded to a length of its
            own: `decoder_input_ids`. Inputs of the same lengths, as its mask, are not named.
        inner_lengths: Name -> the function from a length of the first input to the length that the model makes of it:
            the frames of a sound. It holds for padded lengths too.
        changes: What is drawn for each training batch by `drawn`; None: nothing, or `collate` draws it.
    """

    columns: Mapping[str, Sequence[Any]]
    padding: Mapping[str, float]
    targets: Mapping[str, Values]
    lengths: Sequence[int]
    longest: int
    augmented: bool = False
    batching: Batching = Batching.RIGHT
    further_lengths: Mapping[str, Sequence[int]] = field(default_factory=dict)
    inner_lengths: Mapping[str, Callable[[int], int]] = field(default_factory=dict)
    own_lengths: Sequence[int] | None = None
    changes: Changes | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lengths)

    @property
    def unit_offsets(self) -> Sequence[int]:
        """The number of units before each row, and last the number of all: (rows + 1) numbers.

        A `range` where each row is one unit.
        """
        return range(len(self) + 1)

    @property
    def example_offsets(self) -> Sequence[int]:
        """The number of units before each example, and last the number of all: (examples + 1) numbers.

        A `range` where each example is one unit.
        """
        return self.unit_offsets

    def units(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the numbers of the rows' units: (units,)."""
        offsets = self.unit_offsets
        if isinstance(offsets, range):
            return torch.tensor(rows)
        return torch.cat([torch.arange(offsets[i], offsets[i + 1]) for i in rows])

    def batched(self, batching: Batching) -> Self:
        """Return the same split for another way of batching.

        Where nothing is padded, the length of a row is its own; a task may have given all rows that of the longest.
        Inputs of one size keep the length that they have, and spectra that go through the model alone have none.
        """
        if batching is self.batching:
            return self
        values = next(iter(self.columns.values()))
        sizes = [len(row) for row in values] if self.padding else []
        is_flat = getattr(values[0], "ndim", 1) == 1
        if not is_flat and len(set(sizes)) > 1 and batching is Batching.SINGLE:
            sizes = [1] * len(values)
        elif not is_flat and len(set(sizes)) < 2:
            sizes = []
        return replace(self, batching=batching, lengths=sizes or self.lengths)

    def sample(self, rows: Sequence[int]) -> Self:
        """Return some of the rows as a smaller split."""
        columns: dict[str, Any] = {name: take(values, rows) for name, values in self.columns.items()}
        targets = {name: take(values, rows) for name, values in self.targets.items()}
        further = {name: [own[i] for i in rows] for name, own in self.further_lengths.items()}
        changes = None if self.changes is None else self.changes.sample(rows)
        lengths = [self.lengths[i] for i in rows]
        own = None if self.own_lengths is None else [self.own_lengths[i] for i in rows]
        return replace(
            self,
            columns=columns,
            targets=targets,
            lengths=lengths,
            own_lengths=own,
            further_lengths=further,
            changes=changes,
        )

    def tuned(self, params: Params) -> Self:
        """Return the split with changes as strong as a configuration says."""
        return self if self.changes is None else replace(self, changes=self.changes.tuned(params))

    def drawn(self, rows: Sequence[int]) -> tuple["Encoded", Sequence[int]]:
        """Return a split with a training batch, whose random changes are drawn, and the batch's row numbers in it.

        Args:
            rows: The batch, as row numbers of this split.
        """
        if self.changes is None:
            return self, rows
        batch = self.sample(rows)
        assert batch.changes is not None
        return batch.changes.draw(batch), range(len(rows))


def take(values: Values, rows: Sequence[int]) -> Values:
    """Return the values of some rows; the same row may occur twice."""
    if isinstance(values, torch.Tensor):
        return values.index_select(0, torch.as_tensor(rows, dtype=torch.long))  # many times as fast as indexing
    return [values[i] for i in rows]
