"""Pause and promote: which trials go on at a rung, by the rules of ASHA and PASHA.

ASHA: Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, Algorithm 2, the variant with promotions.
PASHA: Bohdal et al. 2023, Efficient Hyperparameter and Architecture Search with Progressive Resource Allocation. A rung
is an evaluation, so the same amount of data seen in every trial of a study. `service/lifecycle/promotions.py` asks
here, and workers, which wait for the decision at a rung; nothing here knows of rows or of Optuna. Scores are higher
where they are better: callers turn the sign of an objective that is minimised.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from luthier.studies.strategy import HYPERBAND_FACTOR, SMALLEST_RESOURCE, Pruner

ASHA = "asha"
TO_ITS_END = 2**31 - 1  # the rung that a trial is let past which pauses no more
FIRST_TOP = 1  # place of the rung up to which PASHA trains at first: it compares two
NOISE_PERCENTILE = 90.0  # of the differences between trials that changed places back and forth (PASHA, section 4.1)

Scores = Mapping[int, float]
"""Number of a trial -> its score, the higher the better."""


def rungs_of(pruner: Pruner, longest: int) -> tuple[int, ...]:
    """Return the evaluations after which trials may pause, ascending; none for other pruners.

    The end of a trial is no rung: nothing would be saved.

    Args:
        pruner: of the spec.
        longest: evaluations of the study's longest trial.
    """
    if pruner.name != ASHA:
        return ()
    rungs, step = [], SMALLEST_RESOURCE
    while step < longest:
        rungs.append(step)
        step *= factor_of(pruner)
    return tuple(rungs)


def factor_of(pruner: Pruner) -> int:
    """Return eta: one of so many trials of a rung goes on."""
    return pruner.reduction_factor or HYPERBAND_FACTOR


def best_of_rung(rung: Scores, factor: int) -> list[int]:
    """Return the trials that may pass a rung, best first: one of `factor`, rounded down; the earlier of equals."""
    ranked = sorted(rung, key=lambda number: (-rung[number], number))
    return ranked[: len(rung) // factor]


def goes_on(rung: Scores, number: int, factor: int) -> bool:
    """Return whether a trial that has just come to a rung is among those that pass it."""
    return number in best_of_rung(rung, factor)


@dataclass(frozen=True)
class Ladder:
    """The rungs of a study as its trials stand now.

    Attributes:
        factor: eta.
        scores: of each rung, from the lowest: its trials, with those that have passed it.
        paused: number of a trial that waits -> the place of its rung in `scores`.
        top: the place of the first rung that no trial passes yet; the number of rungs where all may be passed.
    """

    factor: int
    scores: Sequence[Scores]
    paused: Mapping[int, int]
    top: int

    def promotable(self) -> list[int]:
        """Return the paused trials that go on now: those of the highest rung first, the best of a rung first."""
        return [
            number
            for place in reversed(range(min(self.top, len(self.scores))))
            for number in best_of_rung(self.scores[place], self.factor)
            if self.paused.get(number) == place
        ]

    def leaders(self, places: int) -> list[int]:
        """Return the paused trials among the best, which are trained to their end when nothing else is left to do.

        Trials are compared at the highest rung where one is paused, and where that has too few, at those below: never
        one that was trained whole with one that was not. The baseline, say, has a score at every rung.

        Args:
            places: how many are the best: one, or as many as are trained again on fresh seeds.
        """
        met: set[int] = set()
        leaders = []
        for place in reversed(range(max(self.paused.values(), default=-1) + 1)):
            rung = {number: score for number, score in self.scores[place].items() if number not in met}
            best = sorted(rung, key=lambda number: (-rung[number], number))[: max(0, places - len(met))]
            leaders += [number for number in best if number in self.paused]
            met |= rung.keys()
        return leaders


def first_top(pruner: Pruner, rungs: Sequence[int]) -> int:
    """Return the place of the first rung that no trial of a new study passes; see `Ladder.top`."""
    return min(FIRST_TOP, len(rungs)) if pruner.growth == "pasha" else len(rungs)


def top_grows(below: Scores, top: Scores, noise: float) -> bool:
    """Return whether the ranking still changes between the two highest rungs that PASHA trains to.

    A soft ranking (PASHA, section 4): at each place of the upper rung must stand a trial whose score in the lower rung
    is within the noise of that of the trial at this place there.

    Args:
        below: the lower rung's scores.
        top: the upper rung's.
        noise: epsilon: trials of the lower rung whose scores differ by no more are equals.
    """
    both = [number for number in top if number in below]
    before = sorted(both, key=lambda number: (-below[number], number))
    after = sorted(both, key=lambda number: (-top[number], number))
    return any(abs(below[a] - below[b]) > noise for a, b in zip(before, after, strict=True))


def ranking_noise(curves: Mapping[int, Mapping[int, float]], up_to: int) -> float:
    """Return PASHA's epsilon: how far apart trials are whose ranking goes to and fro while they train.

    Of each two trials the latest evaluation that both have counts, where their order was once the other one before, and
    before that this one again (section 4.1).

    Args:
        curves: number of a trial -> evaluation -> its score.
        up_to: the highest rung's evaluation; later ones do not count.

    Returns:
        The 90th percentile of their differences; 0 where no two changed places to and fro.
    """
    differences = []
    for one, other in combinations(sorted(curves), 2):
        shared = sorted(step for step in curves[one] if step in curves[other] and step <= up_to)
        signs = [_sign(curves[one][step] - curves[other][step]) for step in shared]
        turned = [sign for i, sign in enumerate(signs) if sign and (i == 0 or sign != signs[i - 1])]
        if signs and signs[-1] and _goes_to_and_fro(turned):
            differences.append(abs(curves[one][shared[-1]] - curves[other][shared[-1]]))
    return _percentile(sorted(differences), NOISE_PERCENTILE)


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)


def _goes_to_and_fro(signs: Sequence[int]) -> bool:
    """Return whether an order was another one once, and the last one before that."""
    last = signs[-1]
    opposite = max((i for i, sign in enumerate(signs) if sign == -last), default=0)
    return last in signs[:opposite]


def _percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of ascending numbers, interpolated linearly as NumPy does; 0 of none."""
    if not ordered:
        return 0.0
    position = (len(ordered) - 1) * percent / 100
    low, high = math.floor(position), math.ceil(position)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@dataclass(frozen=True)
class RungPlan:
    """A rung in a plan.

    Attributes:
        step: the evaluation.
        trials: how many come to it where scores arrive in no order, and more where later trials are better; None: any.
    """

    step: int
    trials: int | None


def planned_rungs(pruner: Pruner, count: float, longest: int) -> list[RungPlan]:
    """Return the rungs of a study with at most `count` trials, the baseline among them, which passes all rungs."""
    planned = list[RungPlan]()
    for step in rungs_of(pruner, longest):
        planned.append(RungPlan(step, None if math.isinf(count) else int(count)))
        count = count if math.isinf(count) else max(1.0, count // factor_of(pruner))
    return planned
