"""The contract of a task's scores: what is kept of a model's outputs, and the metrics that are made of it.

`TaskCode` has it. The engine and `jobs` reduce each batch of an evaluation by it; `jobs.references` scores answers that
no model gave.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic

import torch

from luthier.studies.hyperparameters import Params
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.tasks.export import Learned
from luthier.trials.tasks.statistics import Statistics

Tensors = Mapping[str, torch.Tensor]  # name -> tensor
Batch = dict[str, torch.Tensor]  # the same, as a task makes it


GENERATED = "generated"
"""Name of the answer that holds the tokens which the model has written: (rows, tokens)."""
NO_TOKEN, NOT_GENERATED = -1, -2
"""What stands in it behind the last token of a row, and in a row of which nothing was written."""


class Reference(Enum):
    """Answers without a model, which the inspection scores to learn what scores mean."""

    CONSTANT = auto()  # the same one to every unit: that of `Scoring.constant`
    RIGHT = auto()  # as good as can be
    WRONG = auto()  # as bad as can be


@dataclass(frozen=True)
class Constant:
    """The answer that a model would give to everything if it had learned nothing but the training split's targets.

    Attributes:
        name: For people: the most frequent label, say.
        value: For `Scoring.reference_answers`; only the task knows what it is.
        told: Its scores say something; where they do not, only those of the best and worst answers are looked at.
    """

    name: str
    value: Any
    told: bool = True


class Scoring(ABC, Generic[Learned]):
    """The part of a task's code that reduces outputs to answers, answers to statistics, and these to metrics."""

    @abstractmethod
    def answers(self, outputs: Tensors, targets: Tensors) -> Batch:
        """Reduce a batch's outputs to its answers: name -> (units, ...), small, on any device.

        Nothing may wait for the device here. A unit's answer has the size of what is known about it, never of a
        vocabulary.

        Args:
            outputs: The model's, on its device.
            targets: The batch's, on the CPU.
        """

    def translated(self, answers: Tensors, own: Learned, targets: Learned) -> Tensors:
        """Return the answers of a model that learned other targets as answers to today's.

        Args:
            answers: On the CPU.
            own: What the model has learned.
            targets: Those of today's data.
        """
        return answers

    @abstractmethod
    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return what the metrics need of some answers, name -> (units, ...): a few numbers for each unit.

        Args:
            answers: On the CPU.
            encoded: The split.
            rows: The rows that the answers are of.
        """

    def gather(self, columns: Tensors, encoded: Encoded, targets: Learned) -> Statistics:
        """Return the statistics of a split from those of its units.

        A task whose metrics join several units of an example (entities of words, windows of a long text) overrides
        this method to add the examples' own statistics.

        Args:
            columns: Name -> (units, ...) in the split's order, from `statistics`.
            encoded: The split.
            targets: What is learned.
        """
        offsets = encoded.example_offsets
        return Statistics(columns, {}, None if isinstance(offsets, range) else torch.tensor(offsets))

    @abstractmethod
    def scores(self, statistics: Statistics, targets: Learned) -> Metrics:
        """Compute every metric of the task.

        Args:
            statistics: Of a split, or of a sample of one.
            targets: What is learned.

        Returns:
            Metric name -> value, one for each metric of the task in `TASKS`, `loss` among them; None where a metric is
            undefined, and for a loss that is not finite.
        """

    def score(self, metric: str, statistics: Statistics, targets: Learned) -> float | None:
        """Compute one metric, thousands of which a comparison needs; a task whose others are costly overrides it."""
        return self.scores(statistics, targets)[metric]

    def sampled(
        self, metric: str, statistics: Statistics, samples: Sequence[torch.Tensor], targets: Learned
    ) -> list[float | None]:
        """Compute one metric over many samples; a task that scores them together faster than one by one overrides it.

        Args:
            metric: Its name.
            statistics: Of a split, or of two models' answers to it, one behind the other.
            samples: (n,) numbers of examples each; the same one may occur several times.
            targets: What is learned.
        """
        return [self.score(metric, statistics.take(sample), targets) for sample in samples]

    def on_one_scale(self, metric: str, statistics: Statistics) -> Statistics | None:
        """Return a model's statistics without its own scale; None where a metric knows it, or a score is not finite.

        A comparison exchanges the answers of two models at random. A mixture of answers on two scales would be worse
        than either model, by which nothing could be told.
        """
        return None

    def settles(self, params: Params) -> bool:
        """Return whether a configuration leaves something to `settled`."""
        return False

    def settled(self, targets: Learned, validation: Statistics) -> Learned:
        """Return the targets with what is chosen by a model's answers to the validation split, such as a threshold.

        Validation scores are those with that choice. Test scores are, too, and the model is packed with it.

        Args:
            targets: What is learned.
            validation: Statistics of the validation split.
        """
        return targets

    def right(self, statistics: Statistics, targets: Learned) -> torch.Tensor | None:
        """Return whether each unit's answer is right, (units,) booleans; None where answers are not right or wrong."""
        return None

    def constant(self, training: Sequence[Any], targets: Learned) -> Constant | None:
        """Return the constant answer that suits the training split best; None: this task has no such answer.

        Args:
            training: The training rows' targets, as `Targets.read` returned them.
            targets: What is learned.
        """
        return None

    def reference_answers(self, reference: Reference, constant: Constant, units: Tensors, targets: Learned) -> Batch:
        """Return reference answers to some units, as `answers` does a model's. Called where `constant` is not None.

        Args:
            reference: Which answers.
            constant: That of `constant`.
            units: The units' targets, from `collate_targets`.
            targets: What is learned.
        """
        raise NotImplementedError

    @abstractmethod
    def truths(self, statistics: Statistics, encoded: Encoded, targets: Learned) -> Iterable[str]:
        """Return the right answer to each unit of a split, as text for people."""

    @abstractmethod
    def said(self, statistics: Statistics, encoded: Encoded, targets: Learned) -> Iterable[str]:
        """Return the model's answer to each unit of a split, as text for people."""
