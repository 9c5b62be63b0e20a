"""The contract of a task's tables for people: what a winner gets right, confuses, and is not sure of.

`TaskCode` has it. `jobs.winner_tables` calls it with the statistics that the scores are made of. A task overrides what
makes sense for it; the others stay without that table.
"""

from typing import Any, Generic, NamedTuple

import torch

from luthier.trials.tasks.export import Learned
from luthier.trials.tasks.scoring import Tensors
from luthier.trials.tasks.statistics import Statistics


class ClassCounts(NamedTuple):
    """What is counted of each class, (classes,) each: the units that have it and got it, got it, and have it."""

    right: torch.Tensor
    predicted: torch.Tensor
    labelled: torch.Tensor


class Pairs(NamedTuple):
    """The true and the predicted class, or number, of each unit: (units,) each."""

    true: torch.Tensor
    predicted: torch.Tensor


class Insight(Generic[Learned]):
    """The part of a task's code that tells how a winner's answers are right and wrong."""

    def sureness(self, answers: Tensors) -> torch.Tensor | None:
        """Return the probability that each unit's answer is given, (units,); None where it has none.

        Args:
            answers: Those of `answers`, on the CPU.
        """
        return None

    def badness(self, statistics: Statistics, targets: Learned) -> torch.Tensor | None:
        """Return how bad each unit's answer is, (units,) or (examples,), more is worse; None where nothing tells.

        Args:
            statistics: Of a split.
            targets: What is learned.
        """
        return None

    def class_counts(self, statistics: Statistics, targets: Learned) -> ClassCounts | None:
        """Return what is counted of each class of `targets.label_names`; None where nothing is classified."""
        return None

    def class_pairs(self, statistics: Statistics) -> Pairs | None:
        """Return the true and the predicted class of each unit; None where a unit has no single one."""
        return None

    def number_pairs(self, statistics: Statistics, targets: Learned) -> Pairs | None:
        """Return the true and the predicted number of each unit, in the data's units; None where none is learned."""
        return None


def counts_of_pairs(pairs: Pairs, classes: int) -> ClassCounts:
    """Return what is counted of each class, of units that have one each."""

    def count(values: torch.Tensor) -> Any:
        return torch.bincount(values.long(), minlength=classes)

    return ClassCounts(count(pairs.true[pairs.true == pairs.predicted]), count(pairs.predicted), count(pairs.true))
