"""The noise of a study's scores: standard error, interval, and the winner beside the baseline on the same examples.

`evaluate` calls `sampling` with statistics that it has collected. A share of right answers of unrelated examples is
computed; any other score is resampled, from the assignment's seed, in an order that never changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from luthier.studies.intervals import Interval, bca, resampling_error, share_error, wilson
from luthier.studies.protocol import Assignment
from luthier.studies.results import BaselineScores, Pair, Sampling
from luthier.studies.wire import Metrics
from luthier.trials.data.targets import Targets
from luthier.trials.jobs.clusters import Clusters
from luthier.trials.jobs.replicates import POLL_REPLICATES, REPLICATES, Replicates, Scores
from luthier.trials.session import Session
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.statistics import Statistics

ERROR_REPLICATES = 200
"""Resamples for a standard error, which needs fewer than the ends of an interval."""
PARTS = 100
"""Parts of the examples, each of which is left out once, for the skewness of their influence."""
LEAST_DEFINED = 0.9
"""Share of the resamples on which a score must be defined."""


@dataclass(frozen=True)
class Scored:
    """A model's answers to a split.

    Attributes:
        task: The task's code.
        targets: What the model has learned, with what was settled.
        statistics: Of its answers.
        groups: (examples,) examples with the same value are related; None: none are.
        is_whole: Every row was answered, also where texts were written for some alone.
    """

    task: TaskCode[Any]
    targets: Targets
    statistics: Statistics
    groups: Sequence[str] | None
    is_whole: bool = True

    def scores(self) -> Metrics:
        """Return every metric of the task."""
        return self.task.scores(self.statistics, self.targets)

    def value(self, metric: str) -> float | None:
        """Return one metric over all examples."""
        return self.task.score(metric, self.statistics, self.targets)

    @cached_property
    def clusters(self) -> Clusters:
        """The examples, those that are related together."""
        return Clusters(len(self.statistics), self.groups)

    def sampled(self, metric: str, statistics: Statistics, samples: Sequence[torch.Tensor]) -> list[float | None]:
        """Return one metric over many samples of statistics."""
        return self.task.sampled(metric, statistics, samples, self.targets)

    def on_one_scale(self, metric: str) -> Statistics | None:
        """Return the statistics without the model's own scale; None where a metric depends on it."""
        return self.task.on_one_scale(metric, self.statistics)

    def is_share(self, binary: bool) -> bool:
        """Return whether a score is a share of right answers to unrelated examples; `binary`: it is one of units."""
        return binary and self.is_whole and self.groups is None and self.statistics.offsets is None

    def gained(self, before: "Scored") -> int:
        """Return how many units this model alone has right of the two; 0 where answers are not right or wrong."""
        was, now = (side.task.right(side.statistics, side.targets) for side in (before, self))
        return 0 if was is None or now is None or was.shape != now.shape else int((now & ~was).sum())


def sampling(
    assignment: Assignment, session: Session, winner: dict[str, Scored], baseline: dict[str, Scored]
) -> Sampling:
    """Return the noise of a study's scores.

    Args:
        assignment: Seed and objective.
        session: Polled between replicates.
        winner: Split -> its answers: to validation, and to test where there is one.
        baseline: The same of the baseline, of the split on which the two are compared; empty: there is none.

    Raises:
        Ended: The assignment is to end now.
    """
    noise = Noise(assignment, session)
    test = winner.get("test")
    error = noise.error(winner["validation"])
    if not baseline:
        return Sampling(standard_error=error, interval=None if test is None else noise.interval(test))
    split: Literal["validation", "test"] = "validation" if test is None else "test"
    intervals, pair = noise.side_by_side(split, winner[split], baseline[split])
    scores = BaselineScores(test=None)
    if test is not None:
        scores = BaselineScores(test=baseline["test"].scores(), interval=intervals[1])
    return Sampling(standard_error=error, interval=None if test is None else intervals[0], baseline=scores, pair=pair)


@dataclass(frozen=True)
class Noise:
    """Measures the noise of the objective.

    Attributes:
        assignment: Seed and objective.
        session: Polled between replicates.
    """

    assignment: Assignment
    session: Session

    def error(self, scored: Scored) -> float | None:
        """Return the standard error of a score; None where it is undefined."""
        value = scored.value(self._metric)
        if value is None:
            return None
        if scored.is_share(self._binary):
            return share_error(value, scored.statistics.unit_count)
        resampled = self._resampled(scored, ERROR_REPLICATES)
        return resampling_error(resampled, len(scored.clusters)) if _are_enough(resampled, ERROR_REPLICATES) else None

    def interval(self, scored: Scored) -> Interval | None:
        """Return the interval of a score; None where it is undefined."""
        return self._interval(scored, [] if scored.is_share(self._binary) else self._resampled(scored, REPLICATES))

    def side_by_side(
        self, split: Literal["validation", "test"], winner: Scored, baseline: Scored
    ) -> tuple[tuple[Interval | None, Interval | None], Pair]:
        """Return the intervals of winner and baseline, and the two on the same examples."""
        replicates = Replicates(self.assignment, self.session, baseline, winner, winner.groups)
        scores: Scores = []
        exchanged: list[float] = []
        is_share = winner.is_share(self._binary)
        for block in () if is_share else replicates.blocks():
            exchanged += replicates.differences(block.exchanged)
            scores += block.resampled
        pair = Pair(
            split=split,
            examples=len(winner.statistics),
            labelled_units=winner.statistics.unit_count,
            independent=is_share,
            winner=winner.value(self._metric),
            baseline=baseline.value(self._metric),
            gained=winner.gained(baseline),
            lost=baseline.gained(winner),
            exchanged=exchanged,
            resampled=replicates.differences(scores),
        )
        before, after = ([value for both in scores if (value := both[side]) is not None] for side in (0, 1))
        return (self._interval(winner, after), self._interval(baseline, before)), pair

    def _interval(self, scored: Scored, resampled: Sequence[float]) -> Interval | None:
        """Return the interval of a score, by its values on resamples; a share needs none of them."""
        value = scored.value(self._metric)
        if value is None:
            return None
        if scored.is_share(self._binary):
            return wilson(value, scored.statistics.unit_count)
        if not _are_enough(resampled, REPLICATES):
            return None
        clusters = scored.clusters
        parts = min(len(clusters), PARTS)
        others = [clusters.without(part, parts) for part in range(parts)]
        left_out = scored.sampled(self._metric, scored.statistics, others)
        influence = [other for other in left_out if other is not None]
        return bca(value, resampled, influence if len(influence) == parts else (), len(clusters))

    def _resampled(self, scored: Scored, count: int) -> list[float]:
        """Return a score on resamples of the examples, where it is defined. Raises Ended."""
        generator = torch.Generator().manual_seed(self.assignment.seed)
        values: list[float | None] = []
        for first in range(0, count, POLL_REPLICATES):
            self.session.poll()
            samples = [scored.clusters.draw(generator) for _ in range(min(POLL_REPLICATES, count - first))]
            values += scored.sampled(self._metric, scored.statistics, samples)
        return [value for value in values if value is not None]

    @property
    def _metric(self) -> str:
        return self.assignment.spec.objective.metric

    @property
    def _binary(self) -> bool:
        return self.assignment.spec.task_info.is_binary(self._metric)


def _are_enough(resampled: Sequence[float], drawn: int) -> bool:
    """Return whether a score was defined on nearly all resamples; else these are other data than the split's."""
    return len(resampled) >= LEAST_DEFINED * drawn
