"""Draws that weigh seconds: cheap configurations first, then the most expected gain per second, then gain alone.

`search.py` makes a `Price` for a draw of a study that weighs seconds (`cost_awareness.py`), and `drawing.py` then asks
`CostAwareTpe` in place of Optuna's TPE. As in CArBO (Lee et al. 2020, Cost-aware Bayesian Optimization, arXiv
2003.10870) the expected improvement is divided by cost to the power of the share of the budget that is left: gain per
second alone is not robust (Guinet et al. 2020, Pareto-efficient Acquisition Functions for Cost-Aware Bayesian
Optimization, arXiv 2011.11456). A draw depends on the seed, the trial's number, and the trials before it: their scores,
their seconds, and which of them still run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from luthier.studies.hyperparameters import Scalar
from luthier.studies.search.expected_improvement import Cube, Floats, Surface
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec
from luthier.studies.trial_costs import Costs, Ran, estimated, weighs_seconds
from luthier.studies.trial_work import Prefixes, work_of

Key = tuple[Scalar, ...]  # the values that tell a configuration from others: Space.key
SECONDS = "luthier:seconds"  # a trial's system attribute: that a worker was busy with it
TOLD = (TrialState.COMPLETE, TrialState.PRUNED)  # states of trials that TPE learns from
PROPOSALS = 64  # random ones, for each draw
DESIGN_TRIALS = 4  # that cover the space at low cost, the baseline among them; a surface through fewer is a guess


@dataclass(frozen=True)
class Price:
    """What configurations cost in one draw.

    Attributes:
        costs: the study's, after its trials.
        prefixes: the frozen parts that its trials have computed.
        weight: of cost, from 1 at the budget's start to 0 at its end.
        evaluations_per_epoch: as in the spec.
        space: resolved.
        taken: the keys of the configurations that it has tried.
    """

    costs: Costs
    prefixes: Prefixes
    weight: float
    evaluations_per_epoch: int
    space: Space
    taken: frozenset[Key]

    def is_new(self, drawn: Mapping[str, Any]) -> bool:
        """Return whether no trial has a configuration."""
        return self.space.key(self.space.clip(dict(drawn))) not in self.taken

    def trained(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return a trial's configuration, of a pruned one with the epochs that it trained in place of its own."""
        if trial.state != TrialState.PRUNED or trial.last_step is None or "epochs" not in trial.params:
            return trial.params
        return {**trial.params, "epochs": trial.last_step / self.evaluations_per_epoch}

    def log_seconds(self, drawn: Mapping[str, Any]) -> float:
        """Return the logarithm of the seconds that a trial is expected to take, from its searched dimensions."""
        return math.log(self.costs.seconds(drawn, self.prefixes))


def seconds_noted(spec: StudySpec, seconds: float | None) -> float | None:
    """Return the seconds of a trial that are stored with it: none where no draw of its study looks at them."""
    return seconds if weighs_seconds(spec) else None


def price_of(spec: StudySpec, space: Space, costs: Costs | None, trials: Sequence[FrozenTrial]) -> Price | None:
    """Return what configurations cost in the draw after these trials; None where the study weighs no seconds.

    Args:
        spec: the study's.
        space: its space, resolved.
        costs: those known before its trials; None: nothing is.
        trials: all of them, by number; seconds are a note in each that has ended.
    """
    if not weighs_seconds(spec):
        return None
    costs = costs or estimated(work_of(spec, space))
    per_epoch = spec.evaluations_per_epoch
    fitted, prefixes = costs.after(
        Ran(
            trial.params,
            None if trial.last_step is None else trial.last_step / per_epoch,
            seconds_of(trial) if trial.state in TOLD else None,
        )
        for trial in trials
    )
    taken = frozenset(space.key(trial.params) for trial in trials)
    return Price(fitted, prefixes, left(spec, trials), per_epoch, space, taken)


def seconds_of(trial: FrozenTrial) -> float | None:
    """Return the seconds that a worker was busy with a trial; None where nobody has told."""
    seconds = trial.system_attrs.get(SECONDS)
    return seconds if isinstance(seconds, int | float) and seconds > 0 else None


def left(spec: StudySpec, trials: Sequence[FrozenTrial]) -> float:
    """Return the share of the budget that is left, from 1 to 0: of the limit that is nearest.

    Wall-clock time is counted as the seconds of the trials over how many of them run at a time, so that no clock is
    asked: the same trials give the same share.
    """
    budget = spec.budget
    seconds = sum(seconds_of(trial) or 0.0 for trial in trials)
    running = sum(not trial.state.is_finished() for trial in trials)
    spent = [0.0]
    if budget.gpu_seconds is not None:
        spent.append(seconds * (spec.resources.gpus or 1.0) / budget.gpu_seconds)
    if budget.wall_clock_seconds is not None:
        spent.append(seconds / min(spec.parallel, running + 1) / budget.wall_clock_seconds)
    if budget.trials is not None:
        spent.append(len(trials) / budget.trials)
    return max(0.0, 1.0 - max(spent))


class CostAwareTpe(TPESampler):
    """TPE whose proposals, and some random ones, are judged by what they are expected to gain, and by their seconds.

    The first trials cover the space at low cost. Until the model of TPE begins, all proposals are random.
    """

    def __init__(self, startup: int, seed: int, price: Price) -> None:
        """Set up one draw.

        Args:
            startup: trials that end before TPE's model is asked.
            seed: of this draw.
            price: what configurations cost.
        """
        super().__init__(n_startup_trials=startup, seed=seed)
        self._startup, self._seed, self._price = startup, seed, price
        self._dimensions: dict[str, BaseDistribution] = {}
        self._cube = Cube({})
        self._surface: Surface | None = None

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a value for each of the dimensions."""
        trials = study.get_trials(deepcopy=False)
        told = sum(one.state in TOLD for one in trials)
        self._dimensions, self._cube = search_space, Cube(search_space)
        sampler = RandomSampler(seed=self._seed)
        drawn = [
            {name: sampler.sample_independent(study, trial, name, d) for name, d in search_space.items()}
            for _ in range(PROPOSALS)
        ]
        drawn = [one for one in drawn if self._price.is_new(one)] or drawn
        known, scores = self._known(trials, study.direction == StudyDirection.MAXIMIZE)
        if told < min(self._startup, DESIGN_TRIALS) or not known:
            trained = self._cube.points([one.params for one in trials])
            distances = np.sqrt(self._cube.squares(self._cube.points(drawn), trained)).sum(axis=2).min(axis=1)
            return drawn[cheap_and_far(self._log_seconds(drawn), distances)]
        self._surface = Surface(self._cube, self._cube.points(known), np.array(scores))
        if told >= self._startup:
            drawn.append(super().sample_relative(study, trial, search_space))
        return drawn[int(np.argmax(self._weighed(drawn)))]

    def _compute_acquisition_func(self, samples: dict[str, Floats], mpe_below: Any, mpe_above: Any) -> Floats:
        """Return the weighed gain of each of TPE's candidates, which are drawn from the density of good trials.

        Args:
            samples: dimension -> the candidates' values, in Optuna's own form.
            mpe_below: the density of good trials.
            mpe_above: the density of all others.
        """
        columns = {
            name: [self._dimensions[name].to_external_repr(value) for value in values]
            for name, values in samples.items()
        }
        return self._weighed([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])

    def _weighed(self, drawn: Sequence[Mapping[str, Any]]) -> Floats:
        """Return the logarithm of configurations' expected gain, over their seconds to the power of the weight."""
        assert self._surface is not None
        gains = self._surface.log_gains(self._cube.points(drawn))
        weighed: Floats = gains - self._price.weight * self._log_seconds(drawn)
        weighed[[not self._price.is_new(one) for one in drawn]] = -np.inf
        return weighed

    def _log_seconds(self, drawn: Sequence[Mapping[str, Any]]) -> Floats:
        return np.array([self._price.log_seconds(one) for one in drawn])

    def _known(self, trials: Sequence[FrozenTrial], maximize: bool) -> tuple[list[dict[str, Any]], list[float]]:
        """Return the configurations of trials, and a score for each, higher for better.

        A pruned trial counts as one of the epochs that it trained; one that diverged or did not fit as the worst; one
        that runs as the mean, so that the next draw goes elsewhere (Ginsbourger et al. 2010, the constant liar).
        """
        sign = 1.0 if maximize else -1.0
        told = [(one, sign * one.value) for one in trials if _has_score(one) and one.value is not None]
        if not told:
            return [], []
        worst, mean = min(score for _, score in told), sum(score for _, score in told) / len(told)
        failed = [(one, worst) for one in trials if one.state in TOLD and not _has_score(one)]
        running = [(one, mean) for one in trials if not one.state.is_finished()]
        pairs = sorted([*told, *failed, *running], key=lambda pair: pair[0].number)
        return [self._price.trained(one) for one, _ in pairs], [score for _, score in pairs]


def _has_score(trial: FrozenTrial) -> bool:
    """Return whether a trial has a score that says how good its configuration is."""
    is_infeasible = any(value > 0 for value in trial.constraints.values())
    return trial.state in TOLD and trial.value is not None and not is_infeasible


def cheap_and_far(seconds: Floats, distances: Floats) -> int:
    """Return which of some configurations is cheap and far from all trials: a step of CArBO's initial design.

    The most expensive one and the one nearest to a trial go in turn, until one is left (Lee et al. 2020).

    Args:
        seconds: (configurations,).
        distances: (configurations,), to the nearest trial.
    """
    alive = list(range(len(seconds)))
    while len(alive) > 1:
        alive.remove(max(alive, key=lambda i: float(seconds[i])))
        if len(alive) > 1:
            alive.remove(min(alive, key=lambda i: float(distances[i])))
    return alive[0]
