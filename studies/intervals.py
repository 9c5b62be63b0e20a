"""Intervals of scores: how far a score on some examples may lie from the score on all examples of their kind.

A worker calls these functions once, for a study's winner and its baseline. Nothing is drawn at random here.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

from pydantic import Field, FiniteFloat

from luthier.studies.wire import Message

LEVEL = 0.95
"""The share of all data sets on which an interval holds the true score."""
LEAST_EXAMPLES = 10
"""Examples (or groups of related ones) below which resampling says nothing."""
_NORMAL = NormalDist()


class Interval(Message):
    """An interval that holds the true value at its level.

    Methods: `wilson` (E. B. Wilson 1927) for a share of right answers; `bca`, the bootstrap with correction of bias and
    skewness (B. Efron 1987), for any other score; `clopper-pearson` (1934) for a difference of shares on the same
    examples; `percentile` (B. Efron and R. J. Tibshirani 1993, chapter 13) for a difference of other scores;
    `independent`, by the normal distribution, for a difference of scores that were not measured side by side.
    """

    low: FiniteFloat
    high: FiniteFloat
    level: FiniteFloat = Field(LEVEL, gt=0, lt=1)
    method: Literal["wilson", "bca", "clopper-pearson", "percentile", "independent"]

    @property
    def error(self) -> float:
        """The standard error that a normal distribution with this interval has."""
        return (self.high - self.low) / (2 * _quantile(self.level))


def wilson(share: float, units: int, level: float = LEVEL) -> Interval:
    """Return Wilson's interval for a share of right answers.

    Args:
        share: Of the units that are right.
        units: Their number, at least 1.
        level: Of the interval.
    """
    low, high = _wilson(share, units, _quantile(level))
    return Interval(low=low, high=high, level=level, method="wilson")


def share_error(share: float, units: int) -> float:
    """Return the standard error of a share of right answers: half of Wilson's interval at one standard error.

    For many units it is the root of share (1 - share) / units. It is never 0: that all of 20 answers are right does not
    mean that all others will be.
    """
    low, high = _wilson(share, units, 1.0)
    return (high - low) / 2


def _wilson(share: float, units: int, z: float) -> tuple[float, float]:
    scale = 1 + z * z / units
    middle = (share + z * z / (2 * units)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / units + z * z / (4 * units * units))
    return max(0.0, middle - half), min(1.0, middle + half)


def bca(
    score: float, resampled: Sequence[float], left_out: Sequence[float], clusters: int, level: float = LEVEL
) -> Interval | None:
    """Return the bias-corrected and accelerated bootstrap interval of a score (Efron 1987), widened for few examples.

    The widening takes quantiles of Student's t with sqrt(n / (n - 1)) times the spread (T. Hesterberg 2015, The
    American Statistician 69, section 5.3), because a resample of n examples spreads too little.

    Args:
        score: On all examples.
        resampled: On bootstrap resamples.
        left_out: Without each of some groups of examples, which together are all examples.
        clusters: The number of examples, or of groups of related ones, that a resample draws.
        level: Of the interval.

    Returns:
        The interval; None where the examples are too few, or every resample has the same score, so that they tell
        nothing.
    """
    if clusters < LEAST_EXAMPLES or len(resampled) < 2 or min(resampled) == max(resampled):
        return None
    ordered = sorted(resampled)
    count = len(ordered)
    below = (sum(1 for value in ordered if value < score) + sum(1 for value in ordered if value <= score)) / 2
    bias = _NORMAL.inv_cdf(min(max(below, 0.5), count - 0.5) / count)
    acceleration = _acceleration(left_out)
    reach = _student(_quantile(level), clusters - 1) * math.sqrt(clusters / (clusters - 1))
    ends = []
    for z in (bias - reach, bias + reach):
        room = 1 - acceleration * z
        place = _NORMAL.cdf(bias + z / room) if room > 0 else float(z > 0)
        ends.append(ordered[min(count - 1, max(0, round(place * (count + 1)) - 1))])
    return Interval(low=ends[0], high=ends[1], level=level, method="bca")


def _acceleration(left_out: Sequence[float]) -> float:
    """Return a sixth of the skewness of the examples' influence, from the scores without each group of them."""
    if not left_out:
        return 0.0
    mean = math.fsum(left_out) / len(left_out)
    squares = math.fsum((mean - value) ** 2 for value in left_out)
    return math.fsum((mean - value) ** 3 for value in left_out) / (6 * squares**1.5) if squares > 0 else 0.0


def resampling_error(resampled: Sequence[float], clusters: int) -> float | None:
    """Return the standard error of a score from its values on resamples; None where they tell nothing.

    Args:
        resampled: On bootstrap resamples.
        clusters: The number of examples, or of groups of related ones, that a resample draws.
    """
    if clusters < LEAST_EXAMPLES or len(resampled) < 2 or min(resampled) == max(resampled):
        return None
    mean = math.fsum(resampled) / len(resampled)
    variance = math.fsum((value - mean) ** 2 for value in resampled) / (len(resampled) - 1)
    return math.sqrt(variance * clusters / (clusters - 1))


def _quantile(level: float) -> float:
    """Return how many standard errors an interval of a level reaches to each side."""
    return _NORMAL.inv_cdf((1 + level) / 2)


def _student(z: float, freedom: int) -> float:
    """Return the quantile of Student's t where the normal one is z (R. A. Fisher's expansion, two terms)."""
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
