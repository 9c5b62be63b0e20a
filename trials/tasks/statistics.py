"""The statistics of a split: a few numbers for each answer of a model, from which every metric is computed.

The engine collects them batch by batch, a task's `scores` reduces them, and a comparison takes samples of them. They
replace a model's outputs, which are not kept: an output may be as wide as a vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch


@dataclass(frozen=True)
class Statistics:
    """Statistics of a model's answers to the examples of a split, on the CPU. A metric is a reduction over them.

    Attributes:
        units: Name -> (units, ...) a value for each unit, example after example.
        examples: Name -> (examples, ...) a value for each example, where a metric is no function of single units.
        offsets: (examples + 1,) the number of units before each example; None: each example is one unit.
    """

    units: Mapping[str, torch.Tensor]
    examples: Mapping[str, torch.Tensor]
    offsets: torch.Tensor | None = None

    def __len__(self) -> int:
        """Return the number of examples."""
        return self.unit_count if self.offsets is None else len(self.offsets) - 1

    @property
    def unit_count(self) -> int:
        """The number of units."""
        return len(next(iter(self.units.values())))

    def take(self, examples: torch.Tensor) -> Self:
        """Return the statistics of some examples.

        Args:
            examples: (n,) numbers of examples; the same one may occur twice.
        """
        own = {name: values[examples] for name, values in self.examples.items()}
        if self.offsets is None:
            return type(self)({name: values[examples] for name, values in self.units.items()}, own)
        counts = self.offsets.diff()[examples]  # (n,) units of each example
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
        shifts = self.offsets[examples] - offsets[:-1]  # from a unit's new number to its old one
        units = torch.arange(int(offsets[-1])) + shifts.repeat_interleave(counts)
        return type(self)({name: values[units] for name, values in self.units.items()}, own, offsets)

    def joined(self, other: "Statistics") -> Self:
        """Return these examples and behind them those of another model or split of the same task."""
        units = {name: torch.cat([values, other.units[name]]) for name, values in self.units.items()}
        examples = {name: torch.cat([values, other.examples[name]]) for name, values in self.examples.items()}
        if self.offsets is None or other.offsets is None:
            return type(self)(units, examples)
        return type(self)(units, examples, torch.cat([self.offsets, self.offsets[-1] + other.offsets[1:]]))
