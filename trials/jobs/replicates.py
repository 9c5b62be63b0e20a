"""Replicates of a comparison: the difference of two models under chance, and on resampled examples.

`compare` draws them where the metric is no mean over examples, or where examples are related. They are drawn from the
assignment's seed, in an order that never changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from luthier.studies.protocol import Assignment
from luthier.studies.semantics import EXCHANGED_ON_ONE_SCALE
from luthier.trials.jobs.clusters import Clusters
from luthier.trials.session import Session
from luthier.trials.tasks.statistics import Statistics

REPLICATES = 1_000
POLL_REPLICATES = 50
"""Replicates between two looks at whether the assignment is to end."""


class Answers(Protocol):
    """A model's answers to the examples, as statistics, and what they score."""

    @property
    def statistics(self) -> Statistics:
        """The answers' statistics."""
        ...

    def score(self, metric: str, statistics: Statistics) -> float | None:
        """Return one metric over other statistics of the same model."""
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
        generator = torch.Generator().manual_seed(self.assignment.seed)
        exchanged: list[float] = []
        resampled: list[float] = []
        for number in range(REPLICATES):
            if number % POLL_REPLICATES == 0:
                self.session.poll()
            exchanged += self.exchange(generator)
            resampled += self.resample(generator)
        return exchanged, resampled

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

    def exchange(self, generator: torch.Generator) -> list[float]:
        """Return the difference with the two models' predictions exchanged in half of the clusters, where defined."""
        count = len(self.champion.statistics)
        first = torch.arange(count) + count * self._clusters.toss(generator)
        return self._difference(first, (first + count) % (2 * count))

    def resample(self, generator: torch.Generator) -> list[float]:
        """Return the difference on as many clusters, drawn with replacement, where it is defined."""
        examples = self._clusters.draw(generator)
        return self._difference(examples, examples + len(self.champion.statistics))

    def resampled_scores(self, generator: torch.Generator) -> tuple[float | None, float | None]:
        """Return the objective of champion and challenger on as many clusters, drawn with replacement."""
        examples = self._clusters.draw(generator)
        return self._scores(examples, examples + len(self.champion.statistics))

    def _scores(self, champion: torch.Tensor, challenger: torch.Tensor) -> tuple[float | None, float | None]:
        """Return the objective of two samples of `_both`; None where it is undefined."""
        metric = self.assignment.spec.objective.metric
        before = self.champion.score(metric, self._both.take(champion))
        return before, self.challenger.score(metric, self._both.take(challenger))

    def _difference(self, champion: torch.Tensor, challenger: torch.Tensor) -> list[float]:
        """Return the difference of the objective between two samples of `_both`; nothing where it is undefined."""
        return self.difference(*self._scores(champion, challenger))

    def difference(self, before: float | None, after: float | None) -> list[float]:
        """Return a difference of the objective, more is better; nothing where one of the two is undefined."""
        if before is None or after is None:
            return []
        return [(after - before) * (1 if self.assignment.spec.maximize else -1)]
