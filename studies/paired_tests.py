"""Paired tests of two models on the same examples: McNemar's, and the randomization test.

`promotion` judges a challenger beside a champion by them, `noise` a winner beside the baseline.
"""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import FiniteFloat

from luthier.studies.documents import Document

MCNEMAR = (
    "McNemar's test, exact, one-sided (Q. McNemar 1947, Psychometrika 12, 153-157; the interval after C. J. Clopper "
    "and E. S. Pearson 1934, Biometrika 26, 404-413)"
)
RANDOMIZATION = (
    "approximate randomization, one-sided (E. W. Noreen 1989, Computer-Intensive Methods for Testing Hypotheses; "
    "A. Yeh 2000, COLING, 947-953; the interval by the percentile bootstrap, B. Efron and R. J. Tibshirani 1993, "
    "An Introduction to the Bootstrap, chapter 13)"
)
ROUNDING = 1e-12  # scores whose sums were taken in another order differ by less


class PairedTest(Document):
    """The result of a paired test on the difference of two models' scores (challenger - champion, more is better)."""

    name: Literal["mcnemar", "randomization"]
    source: str  # the publications that describe it
    p_value: FiniteFloat  # probability of such a difference or a larger one if the challenger were no better
    # Two one-sided bounds: at the schedule's confidence the true difference lies above the first, and also below
    # the second.
    interval: tuple[FiniteFloat, FiniteFloat]


def mcnemar(gained: int, lost: int, units: int, confidence: float) -> PairedTest:
    """Test whether the challenger is right more often than the champion, by McNemar's exact test (see MCNEMAR).

    If both are equally good, each unit that only one of them has right is the challenger's with probability 1/2. So
    p = P(X >= gained) with X ~ Binomial(gained + lost, 1/2). The interval is that of Clopper and Pearson for the
    challenger's share s of those units, as a difference of accuracies: (2 s - 1) (gained + lost) / units.

    Args:
        gained: Units that only the challenger has right.
        lost: Units that only the champion has right.
        units: All labelled units.
        confidence: Of each of the interval's two one-sided bounds, from 0.5 to below 1.

    Raises:
        ValueError: Without units.
    """
    from scipy.stats import beta, binom

    if units <= 0:
        raise ValueError("there are no units to compare on")
    apart = gained + lost
    tail = 1 - confidence
    p_value = float(binom.sf(gained - 1, apart, 0.5)) if apart else 1.0
    low = float(beta.ppf(tail, gained, lost + 1)) if gained else 0.0
    high = float(beta.ppf(confidence, gained + 1, lost)) if lost else 1.0
    ends = [(2 * share - 1) * apart / units + 0.0 for share in (low, high)]  # + 0.0: no negative zero
    return PairedTest(name="mcnemar", source=MCNEMAR, p_value=p_value, interval=(ends[0], ends[1]))


def randomization(
    difference: float, exchanged: Sequence[float], resampled: Sequence[float], confidence: float
) -> PairedTest:
    """Test whether a difference is more than chance, by approximate randomization (see RANDOMIZATION).

    If both models were equally good, swapping their two answers to an example would change nothing. So
    p = (k + 1) / (n + 1), where k of the n differences with swapped answers are at least as large (Noreen 1989). The
    interval has the percentiles 1 - confidence and confidence of the differences on resamples.

    Args:
        difference: The challenger's score minus the champion's; more is better.
        exchanged: The same, with the two answers to each example (or group of examples) swapped or not, by a coin.
        resampled: The same on bootstrap resamples of the examples or groups.
        confidence: Of each of the interval's two one-sided bounds, from 0.5 to below 1.

    Raises:
        ValueError: Without differences of either kind.
    """
    if not exchanged or not resampled:
        raise ValueError("there are no replicates")
    as_good = sum(1 for value in exchanged if value >= difference - ROUNDING)
    ordered = sorted(resampled)
    tail = 1 - confidence
    low = ordered[max(0, math.ceil(tail * len(ordered)) - 1)]
    high = ordered[min(len(ordered) - 1, math.floor(confidence * len(ordered)))]
    p_value = (as_good + 1) / (len(exchanged) + 1)
    return PairedTest(name="randomization", source=RANDOMIZATION, p_value=p_value, interval=(low, high))
