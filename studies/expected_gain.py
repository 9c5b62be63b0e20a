"""How much better a study's best score is expected to become, if its search goes on for some more trials.

`service/lifecycle/going_on.py` asks, with numbers of rows. The best third of the scores is taken for the tail of a
generalised Pareto distribution with shape -1/2 (peaks over a threshold: Pickands 1975). A score has an upper end, so
the shape is below 0, and a fitted one would be noise at so few values. Decision 0112 has the simulation that chose it.
"""

import math
from collections.abc import Sequence

LEAST_TRIALS = 10  # that have ended, before anything is said
LEAST_SCORES = 4  # three above a fourth
MOST_SCORES = 100  # that are looked at
SHARE = 1 / 3  # of the trials, whose scores are the tail
SHAPE = -0.5


def tail_size(tried: int) -> int:
    """Return how many of the best scores, after so many trials, are the tail; one more is looked at."""
    return min(max(LEAST_SCORES - 1, math.ceil(SHARE * tried)), MOST_SCORES)


def expected_gain(best_scores: Sequence[float], tried: int, left: float) -> float | None:
    """Return the expected advantage of the best of `left` more trials over the best so far, which is never below 0.

    With k excesses over a threshold, of which the mean is e, the tail's scale is s = e (1 - shape). The best of n
    trials is expected at s / shape * (k ** shape - 1) above the threshold, that of n + m at the same for k (n + m) / n.

    Args:
        best_scores: the scores of complete trials, in the metric's units, best first; all, or as many as `tail_size`
            says and one more.
        tried: trials that have ended and count: complete ones, and pruned ones, which are taken to be worse than these.
        left: how many more of them there will be; a fraction where time is the limit.

    Returns:
        The gain; None where there are too few, or all of the tail are equal, so that nothing tells how far others are.
    """
    size = min(tail_size(tried), len(best_scores) - 1)
    if tried < LEAST_TRIALS or size < LEAST_SCORES - 1:
        return None
    threshold = best_scores[size]
    excess = math.fsum(abs(score - threshold) for score in best_scores[:size]) / size
    if excess == 0:
        return None
    scale = excess * (1.0 - SHAPE)
    grown = size * (tried + max(0.0, left)) / tried
    return float(scale / SHAPE * (grown**SHAPE - size**SHAPE))
