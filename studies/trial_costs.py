"""The cost model: the seconds of a trial, predicted from what the trials of its study took.

A trial's seconds are linear in the amounts of its work (`trial_work.py`):

    fixed + epoch * E + step * E * 32/B + optimizer * E * 32/B * t + blocks(model) * E * l * t + prefix * l * p

E are its epochs, B its batch size, l the share of the longest inputs that its `max_length` keeps, t the parameters of
the blocks above its freeze depth, over those of all blocks of the study's largest model, and p those of the frozen
blocks whose outputs no trial before it has computed: cached prefixes cost nothing. Early stopping and pruning make E
smaller.

The coefficients are no less than 0, and are fitted to the relative errors of the trials that have ended; a ridge draws
them towards the inspection's estimate, which is all that is known at first. The search weighs configurations with it,
claims reserve by it until trials have ended, and plans and studies show it. It must never import Optuna.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luthier.studies import cost_awareness
from luthier.studies.results import Inspection
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec
from luthier.studies.trial_work import BLOCKS, EPOCH, FIXED, OPTIMIZER, PREFIX, STEP, Amounts, Prefixes, Work, work_of

USUAL = {FIXED: 0.15, EPOCH: 0.10, STEP: 0.05, OPTIMIZER: 0.07, PREFIX: 0.25, BLOCKS: 0.75}
"""Seconds of each amount where an epoch of training all blocks takes about one, as of models like BERT of 6 to 12
blocks on a CPU. Only ratios matter, and the first trials correct them. A pass of the frozen blocks takes a third of the
time of training them."""
RIDGE = 0.02  # weight of a coefficient's estimate beside a trial: it may be several times too small, seconds 15 % off
OUTLIER = 0.3  # relative error from which on a trial counts less: a process started, or a neighbour was busy; twice the
# median error where that is more
ROUNDS = 5  # of reweighting (iteratively reweighted least squares with Cauchy's weights)
LEAST = 0.05  # of the shortest trial's seconds: none is expected to take less
EXACT = 1e-6  # of a factor
MOST_STEPS = 1_000  # of each round; a few dozen are enough
MOST_TRIALS = 1_000  # the latest, that are fitted


@dataclass(frozen=True)
class Measured:
    """What a trial took.

    Attributes:
        amounts: of its work, as `Work.amounts` counts them.
        seconds: that a worker was busy with it.
    """

    amounts: Amounts
    seconds: float


@dataclass(frozen=True)
class Ran:
    """A trial that has begun.

    Attributes:
        params: its configuration, of the space.
        epochs: that it trained; None before its first evaluation.
        seconds: that a worker was busy with it; None where it has not ended, or they say nothing of its configuration.
    """

    params: Mapping[str, Any]
    epochs: float | None
    seconds: float | None


@dataclass(frozen=True)
class Costs:
    """The coefficients of a study's trials, in seconds.

    Attributes:
        work: of its trials.
        coefficients: for each amount.
        least: no trial is expected to take less.
    """

    work: Work
    coefficients: Amounts
    least: float = 1e-3

    def seconds(self, params: Mapping[str, Any], prefixes: Prefixes | None = None) -> float:
        """Return the seconds that a trial is expected to take that trains to its end.

        Args:
            params: its configuration, of the space.
            prefixes: those that are cached; None: all that it needs.
        """
        whole = self.work.whole(params)
        amounts = self.work.amounts(whole, cached=None if prefixes is None else prefixes.deepest(whole))
        return max(float(amounts @ self.coefficients), self.least)

    def at_baseline(self, epochs: float) -> float:
        """Return the seconds of a trial at the baseline, with so many epochs; of several models the longest."""
        each = [self.work.amounts(self.work.baseline(model), epochs) @ self.coefficients for model in self.work.blocks]
        return max(self.least, *map(float, each))

    def by_depth(self, model: str) -> list[float]:
        """Return the seconds of a trial of a model at freeze depth 0, 1, ... its blocks, else at the task's baseline.

        The frozen part is taken for cached.
        """
        whole = {**self.work.baseline(model), "model": model}
        amounts = [
            self.work.amounts({**whole, "freeze_depth": depth}) for depth in range(len(self.work.blocks[model]) + 1)
        ]
        return [max(float(one @ self.coefficients), self.least) for one in amounts]

    def after(self, trials: Iterable[Ran]) -> tuple["Costs", Prefixes]:
        """Return the costs after these trials, which began in this order, and the prefixes that they computed."""
        prefixes, measured = Prefixes(), []
        for trial in trials:
            whole = self.work.whole(trial.params)
            cached = prefixes.deepest(whole)
            prefixes.add(whole)
            if trial.seconds is not None and trial.epochs is not None:
                measured.append(Measured(self.work.amounts(whole, trial.epochs, cached), trial.seconds))
        return self.fitted(measured), prefixes

    def fitted(self, measured: Sequence[Measured]) -> "Costs":
        """Return the costs after these trials, which ended in this order; the same ones where there are none."""
        measured = [one for one in measured if one.seconds > 0][-MOST_TRIALS:]
        if not measured:
            return self
        rows = np.array([one.amounts for one in measured])
        seconds = np.array([one.seconds for one in measured])
        scaled = self.coefficients * float(np.median(seconds / (rows @ self.coefficients)))
        relative = rows * scaled / seconds[:, None]  # the seconds that are expected, over those that it took
        weights = np.ones(len(measured))
        factors = np.ones(len(scaled))
        for _ in range(ROUNDS):
            factors = least_squares(relative, weights, factors)
            errors = np.abs(relative @ factors - 1)
            weights = 1 / (1 + (errors / max(OUTLIER, 2 * float(np.median(errors)))) ** 2)
        return replace(self, coefficients=scaled * factors, least=float(seconds.min()) * LEAST)


def least_squares(relative: Amounts, weights: Amounts, factors: Amounts) -> Amounts:
    """Return the factors on the coefficients that minimise the weighed squares of relative errors, and the ridge.

    None is below 0: each is set to its best value in turn, until none moves (Franc et al. 2005, Sequential
    Coordinate-Wise Algorithm for the Non-negative Least Squares Problem). Importing scipy for it takes longer.

    Args:
        relative: (trials, coefficients), what is expected of each coefficient over the seconds that the trial took.
        weights: (trials,).
        factors: (coefficients,), to begin with.
    """
    size = relative.shape[1]
    products = relative.T @ (relative * weights[:, None]) + RIDGE * np.eye(size)
    targets = relative.T @ weights + RIDGE
    factors = factors.copy()
    for _ in range(MOST_STEPS):
        moved = 0.0
        for i in range(size):
            best = max(0.0, float(factors[i] + (targets[i] - products[i] @ factors) / products[i, i]))
            moved, factors[i] = max(moved, abs(best - float(factors[i]))), best
        if moved < EXACT:
            break
    return factors


def estimated(work: Work, seconds_per_trial: float | None = None) -> Costs:
    """Return what is known of a study's costs before its trials: the usual ratios, scaled to the inspection's estimate.

    Args:
        work: of its trials.
        seconds_per_trial: the estimate, the mean of the models at the baseline; None: seconds have no unit.
    """
    coefficients = np.array([USUAL[min(i, BLOCKS)] for i in range(BLOCKS + len(work.blocks))])
    if seconds_per_trial is not None and seconds_per_trial > 0:
        baselines = [work.amounts(work.baseline(model)) @ coefficients for model in work.blocks]
        coefficients = coefficients * (seconds_per_trial / float(np.mean(baselines)))
    return Costs(work, coefficients)


def costs_before(spec: StudySpec, space: Space, inspection: Inspection) -> Costs:
    """Return what an inspection knows of a study's costs; seconds have no unit where it has no estimate."""
    seconds = None if inspection.estimates is None else inspection.estimates.seconds_per_trial
    return estimated(work_of(spec, space, inspection), seconds)


def weighs_seconds(spec: StudySpec) -> bool:
    """Return whether the draws of a study weigh the seconds of trials."""
    if spec.is_external:
        return False
    return cost_awareness.weighs_seconds(spec.sampler, spec.budget, spec.space, len(spec.models))
