"""Replicates of a comparison: the difference of two models under chance, and on resampled examples.

`compare` draws them where the metric is no mean over examples, or where examples are related. They are drawn from the
assignment's seed, in an order that never changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from luthier.studies.protocol import Assignment
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
        clusters = self._clusters()
        both = self.champion.statistics.joined(self.challenger.statistics)
        exchanged: list[float] = []
        resampled: list[float] = []
        for number in range(REPLICATES):
            if number % POLL_REPLICATES == 0:
                self.session.poll()
            exchanged += self._exchange(both, clusters, generator)
            resampled += self._resample(both, clusters, generator)
        return exchanged, resampled

    def _clusters(self) -> list[list[int]]:
        """Return lists of the examples' numbers; examples that belong together are in one list."""
        members: dict[str, list[int]] = {}
        for example in range(len(self.champion.statistics)):
            group = str(example) if self.groups is None else self.groups[example]
            members.setdefault(group, []).append(example)
        return list(members.values())

    def _exchange(self, both: Statistics, clusters: list[list[int]], generator: torch.Generator) -> list[float]:
        """Return the difference with the two models' predictions exchanged in half of the clusters.

        `both` holds the champion's examples, and behind them the challenger's.
        """
        coins = torch.randint(2, (len(clusters),), generator=generator).tolist()
        count = len(self.champion.statistics)
        swapped = torch.tensor(
            [example for cluster, coin in zip(clusters, coins, strict=True) if coin for example in cluster],
            dtype=torch.long,
        )
        first = torch.arange(count)
        first[swapped] += count
        return self._difference(both, first, (first + count) % (2 * count))

    def _resample(self, both: Statistics, clusters: list[list[int]], generator: torch.Generator) -> list[float]:
        """Return the difference on as many clusters, drawn with replacement."""
        drawn = torch.randint(len(clusters), (len(clusters),), generator=generator).tolist()
        examples = torch.tensor([example for cluster in drawn for example in clusters[cluster]])
        return self._difference(both, examples, examples + len(self.champion.statistics))

    def _difference(self, both: Statistics, champion: torch.Tensor, challenger: torch.Tensor) -> list[float]:
        """Return the difference of the objective between two samples of `both`; nothing where it is undefined."""
        spec = self.assignment.spec
        before = self.champion.score(spec.objective.metric, both.take(champion))
        after = self.challenger.score(spec.objective.metric, both.take(challenger))
        if before is None or after is None:
            return []
        return [(after - before) * (1 if spec.maximize else -1)]
