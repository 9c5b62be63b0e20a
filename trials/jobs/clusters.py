"""Clusters of examples: those that are related stay together whenever examples are drawn or exchanged.

Copies of an input and rows of one group are one piece of evidence, not several. `replicates` and `noise` draw them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from luthier.studies.semantics import INPUTS_UNITED
from luthier.trials.data.repeats import first_rows, joined_groups, units_of
from luthier.trials.data.splits import Split


@dataclass(frozen=True)
class Clusters:
    """The examples of a split, in clusters.

    Attributes:
        count: The number of examples.
        groups: (examples,) examples with the same value are related; None: none are.
    """

    count: int
    groups: Sequence[str] | None

    @cached_property
    def members(self) -> list[torch.Tensor]:
        """The examples' numbers, those that belong together in one tensor."""
        members: dict[str, list[int]] = {}
        for example in range(self.count):
            group = str(example) if self.groups is None else self.groups[example]
            members.setdefault(group, []).append(example)
        return [torch.tensor(examples) for examples in members.values()]

    @cached_property
    def of_example(self) -> torch.Tensor:
        """The number of each example's cluster, (examples,)."""
        numbers = torch.empty(self.count, dtype=torch.long)
        for number, examples in enumerate(self.members):
            numbers[examples] = number
        return numbers

    def __len__(self) -> int:
        """Return the number of clusters."""
        return len(self.members)

    def toss(self, generator: torch.Generator) -> torch.Tensor:
        """Return a coin for each example, (examples,) of 0 and 1, the same within a cluster."""
        return torch.randint(2, (len(self),), generator=generator)[self.of_example]

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        """Return the examples of as many clusters, drawn with replacement."""
        drawn = torch.randint(len(self), (len(self),), generator=generator)
        return drawn if self.groups is None else torch.cat([self.members[number] for number in drawn.tolist()])

    def without(self, part: int, parts: int) -> torch.Tensor:
        """Return the examples without every cluster whose number is `part`, counted round by `parts`."""
        return (self.of_example % parts != part).nonzero()[:, 0]


def related(examples: Split, semantics: int) -> list[str] | None:
    """Return the group of each example, examples with the same input in one; None where none are related.

    Args:
        examples: Of one split.
        semantics: The spec's.
    """
    if semantics < INPUTS_UNITED:
        return examples.groups
    first = first_rows({"test": examples.columns})["test"]
    if examples.groups is None and not units_of(first):
        return None
    return joined_groups(examples.groups or list(map(str, range(len(examples)))), first)
