"""How many trials a pruner can end that compares each with three others at least, which are as long or longer.

`prunable.py` asks. The rule of comparison itself is in `schedule_shares.py`.
"""

import math

from luthier.studies.possible_trials import Trials
from luthier.studies.strategy import LEAST_VALUES


def most_by_equals(trials: Trials, first: int, number: float, startup: int, has_baseline: bool = True) -> float:
    """Return how many trials can be ended at an evaluation, at most.

    Three train to their end, by which the others are ended, and so do the baseline and `startup` trials in all. The
    three must be as long as the longest that is ended, so each length is tried as that one.

    Args:
        trials: the study's.
        first: the evaluation.
        number: how many trials there are: in all, or of a bracket.
        startup: how many must be complete.
        has_baseline: the baseline is among them.
    """
    lengths = [length for length in trials.configurations if length > first]
    return max((_up_to(length, trials, first, number, startup, has_baseline) for length in lengths), default=0.0)


def _up_to(longest: int, trials: Trials, first: int, number: float, startup: int, has_baseline: bool) -> float:
    """Return what `most_by_equals` does, where no trial of more than `longest` evaluations is ended."""
    least = first if trials.steady else longest  # evaluations of trials that those are compared with
    in_pool, of_pool, apart, outside = 0.0, 0.0, 0.0, 0.0
    for length, configurations in trials.configurations.items():
        is_in_pool, compares = first < length <= longest, length >= least
        others = configurations - (length == trials.baseline)  # the baseline is no one else's configuration
        in_pool += others if is_in_pool else 0.0
        of_pool += others if is_in_pool and compares else 0.0
        apart += others if compares and not is_in_pool else 0.0
        outside += others if not is_in_pool else 0.0
    needed = LEAST_VALUES - (has_baseline and trials.baseline >= least)
    from_pool = max(0.0, needed - apart)
    if from_pool > of_pool:
        return 0.0
    whole = needed + has_baseline
    more = max(0.0, startup - whole)
    more_from_pool = max(0.0, more - (outside - (needed - from_pool)))
    return max(0.0, min(number - whole - more, in_pool - from_pool - more_from_pool))


def likely_compared(trials: Trials, first: int, startup: int, share: float = 1.0) -> float:
    """Return about how many trials will have three to be compared with, at evaluation `first`.

    Lengths are taken to be drawn evenly, and trials to run one after another.

    Args:
        trials: the study's, of a number that is known.
        first: the evaluation.
        startup: how many trials must be complete before.
        share: of the trials that are in one bracket, with which those of others are not compared.
    """
    lengths = trials.configurations
    expected = 0.0
    for length in lengths:
        least = first if trials.steady else length
        chance = share * sum(other >= least for other in lengths) / len(lengths)
        if length > first:
            numbers = range(max(1, startup), int(trials.count))
            expected += sum(_at_least_three(number, chance) for number in numbers) * share / len(lengths)
    return expected


def _at_least_three(number: int, chance: float) -> float:
    """Return the probability that LEAST_VALUES or more of so many trials have this chance come true (binomial)."""
    fewer = range(min(LEAST_VALUES, number + 1))
    return 1.0 - sum(math.comb(number, k) * chance**k * (1.0 - chance) ** (number - k) for k in fewer)
