"""Replicates of a comparison: the difference of two models under chance, and on resampled examples.

`compare` draws them where the metric is no mean over examples, or where examples are related. They are drawn from the
assignment's seed, in an order that never changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from luthier.studies.protocol import Assignment
from luthier.studies.semantics import EXCHANGED_ON_ONE_SCALE
from luthier.trials.jobs.predictions import Predictions
from luthier.trials.session import Session
from luthier.trials.tasks.statistics import Statistics

REPLICATES = 1_000
POLL_REPLICATES = 50
"""Replicates between two looks at whether the assignment is to end."""


@dataclass(frozen=True)
class Replicates:
    """Draws differences of the objective: challenger minus champion, with the sign such that more is better.

    Replicates for which the metric is undefined are left out.

    Attributes:
        assignment: Seed and objective.
        session: Polled between replicates.
        champion: The predictions of the model in use.
        challenger: The predictions of the study's winner.
        groups: (examples,) examples with the same value are related and stay together; None: none are.
    """

    assignment: Assignment
    session: Session
    champion: Predictions
    challenger: Predictions
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
    def _clusters(self) -> list[torch.Tensor]:
        """The examples' numbers, those that belong together in one tensor."""
        members: dict[str, list[int]] = {}
        for example in range(len(self.champion.statistics)):
            group = str(example) if self.groups is None else self.groups[example]
            members.setdefault(group, []).append(example)
        return [torch.tensor(examples) for examples in members.values()]

    @cached_property
    def _cluster_of(self) -> torch.Tensor:
        """The number of each example's cluster, (examples,)."""
        numbers = torch.empty(len(self.champion.statistics), dtype=torch.long)
        for number, examples in enumerate(self._clusters):
            numbers[examples] = number
        return numbers

    def exchange(self, generator: torch.Generator) -> list[float]:
        """Return the difference with the two models' predictions exchanged in half of the clusters, where defined."""
        coins = torch.randint(2, (len(self._clusters),), generator=generator)
        count = len(self.champion.statistics)
        first = torch.arange(count) + count * coins[self._cluster_of]
        return self._difference(first, (first + count) % (2 * count))

    def resample(self, generator: torch.Generator) -> list[float]:
        """Return the difference on as many clusters, drawn with replacement, where it is defined."""
        clusters = self._clusters
        drawn = torch.randint(len(clusters), (len(clusters),), generator=generator)
        examples = drawn if self.groups is None else torch.cat([clusters[number] for number in drawn.tolist()])
        return self._difference(examples, examples + len(self.champion.statistics))

    def _difference(self, champion: torch.Tensor, challenger: torch.Tensor) -> list[float]:
        """Return the difference of the objective between two samples of `_both`; nothing where it is undefined."""
        spec = self.assignment.spec
        before = self.champion.score(spec.objective.metric, self._both.take(champion))
        after = self.challenger.score(spec.objective.metric, self._both.take(challenger))
        if before is None or after is None:
            return []
        return [(after - before) * (1 if spec.maximize else -1)]
