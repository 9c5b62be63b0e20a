"""Choose the trials that a plot shows, where a study has more than it can."""

from collections.abc import Sequence
from typing import TypeVar

from optuna.trial import FrozenTrial, TrialState

Item = TypeVar("Item")


def thin(trials: list[FrozenTrial], limit: int, maximize: bool) -> list[FrozenTrial]:
    """Return at most `limit` of the trials, in their order: the best quarter, and an even sample of the others.

    The best trial and the latest are always among them. The same trials give the same choice.

    Args:
        trials: Trials by number.
        limit: How many may be shown, at least 2.
        maximize: Whether a higher value is better.
    """
    if len(trials) <= limit:
        return trials
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1 if maximize else 1
    best = sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))[: max(1, limit // 4)]
    numbers = {trial.number for trial in best}
    others = [trial for trial in trials if trial.number not in numbers]
    return sorted([*best, *spread(others, limit - len(best))], key=lambda trial: trial.number)


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """Return at most `limit` of the items at even distances: the first and the last, or the last alone."""
    if len(items) <= limit:
        return list(items)
    if limit == 1:
        return [items[-1]]
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]
