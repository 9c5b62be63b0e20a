"""Replicates of a comparison: the difference of two models under chance, and on resampled examples.

`compare` draws them where the metric is no mean over examples, or where examples are related. They are drawn from the
assignment's seed, in an order that never changes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch

from luthier.studies.protocol import Assignment
from luthier.studies.semantics import EXCHANGED_ON_ONE_SCALE
from luthier.trials.jobs.clusters import Clusters
from luthier.trials.session import Session
from luthier.trials.tasks.statistics import Statistics

REPLICATES = 1_000
POLL_REPLICATES = 50
"""Replicates that are scored together, between two looks at whether the assignment is to end."""

Scores = list[tuple[float | None, float | None]]
"""The objective of champion and challenger on each of some samples; None where it is undefined."""


class Block(NamedTuple):
    """The scores of some replicates: with the two models' answers exchanged at random, and on resamples."""

    exchanged: Scores
    resampled: Scores


class Answers(Protocol):
    """A model's answers to the examples, as statistics, and what they score."""

    @property
    def statistics(self) -> Statistics:
        """The answers' statistics."""
        ...

    def sampled(self, metric: str, statistics: Statistics, samples: Sequence[torch.Tensor]) -> list[float | None]:
        """Return one metric over many samples of other statistics, as this model is scored."""
        ...

    def on_one_scale(self, metric: str) -> Statistics | None:
        """Return the statistics without the model's own scale; None where a metric depends on it."""
        ...


@dataclass(frozen=True)
class Replicates:
    """Draws differences of the objective: challenger minus champion, with the sign such that more is better.

    Replicates for which the metric is undefined are left out.

    Attributes:
        assignment: Seed and objective.
        session: Polled between replicates.
        champion: Those of the model in use, or of the baseline.
        challenger: Those of the study's winner.
        groups: (examples,) examples with the same value are related and stay together; None: none are.
    """

    assignment: Assignment
    session: Session
    champion: Answers
    challenger: Answers
    groups: Sequence[str] | None

    def draw(self) -> tuple[list[float], list[float]]:
        """Return the differences with the two models' predictions exchanged at random, and those on resamples.

        The first show the differences by chance alone (a paired randomization test, Noreen 1989). The second show how
        exact the measured difference is (a bootstrap over examples, or over groups of them).

        Raises:
            Ended: The assignment is to end now.
        """
        exchanged: list[float] = []
        resampled: list[float] = []
        for block in self.blocks():
            exchanged += self.differences(block.exchanged)
            resampled += self.differences(block.resampled)
        return exchanged, resampled

    def blocks(self) -> Iterator[Block]:
        """Yield the scores of all replicates, some at a time, drawn from the assignment's seed. Raises Ended."""
        generator = torch.Generator().manual_seed(self.assignment.seed)
        for first in range(0, REPLICATES, POLL_REPLICATES):
            self.session.poll()
            exchanged, resampled = [], []
            for _ in range(min(POLL_REPLICATES, REPLICATES - first)):
                exchanged.append(self._exchange(generator))
                resampled.append(self._clusters.draw(generator))
            count = len(self.champion.statistics)
            yield Block(
                self._scores(exchanged, [(sample + count) % (2 * count) for sample in exchanged]),
                self._scores(resampled, [sample + count for sample in resampled]),
            )

    @cached_property
    def _both(self) -> Statistics:
        """The champion's examples, and behind them the challenger's, on one scale where the metric knows none."""
        spec = self.assignment.spec
        if spec.semantics >= EXCHANGED_ON_ONE_SCALE:
            champion, challenger = (
                side.on_one_scale(spec.objective.metric) for side in (self.champion, self.challenger)
            )
            if champion is not None and challenger is not None:
                return champion.joined(challenger)
        return self.champion.statistics.joined(self.challenger.statistics)

    @cached_property
    def _clusters(self) -> Clusters:
        return Clusters(len(self.champion.statistics), self.groups)

    def _exchange(self, generator: torch.Generator) -> torch.Tensor:
        """Return a sample of `_both`: the champion's answers, in half of the clusters the challenger's."""
        count = len(self.champion.statistics)
        return torch.arange(count) + count * self._clusters.toss(generator)

    def _scores(self, champion: list[torch.Tensor], challenger: list[torch.Tensor]) -> Scores:
        """Return the objective of samples of `_both`, each of the first kind beside one of the second."""
        metric = self.assignment.spec.objective.metric
        before = self.champion.sampled(metric, self._both, champion)
        return list(zip(before, self.challenger.sampled(metric, self._both, challenger), strict=True))

    def differences(self, scores: Scores) -> list[float]:
        """Return the differences of the objective, more is better, where both scores are defined."""
        sign = 1 if self.assignment.spec.maximize else -1
        return [(after - before) * sign for before, after in scores if before is not None and after is not None]
