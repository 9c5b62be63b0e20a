"""Drawing of new configurations: the sampler proposes until a proposal is new to the study.

`search.py` calls it. A draw depends on the study's seed, the trial's number and the trials before it (their seconds
too, where the study weighs them), on nothing else. It must never write to the storage.
"""

import copy
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from luthier.studies.dimensions import Range
from luthier.studies.hyperparameters import Params
from luthier.studies.search.cost_aware import Key, Price
from luthier.studies.search.distributions import searched
from luthier.studies.search.priors import near_priors
from luthier.studies.search.samplers import LEARN_FROM_COMPLETE, make_sampler
from luthier.studies.search.storage_view import StorageView
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec

CONSTRAINT = "constraints:"  # Optuna's prefix of a constraint among a trial's system attributes; above 0: infeasible
ATTEMPTS = 10  # proposals of a sampler for one trial: in a small space most are repetitions
GP_ATTEMPTS = 2  # a Gaussian process takes a while for each, and proposes the same one again
RANDOM_ATTEMPTS = 1_000  # before a space without end is called exhausted


class Draw:
    """The drawing of one trial's configuration."""

    def __init__(
        self,
        spec: StudySpec,
        space: Space,
        number: int,
        storage: BaseStorage,
        study_id: int,
        trials: list[FrozenTrial],
        price: Price | None = None,
    ) -> None:
        """Prepare to draw trial `number`, which does not exist yet, from a resolved space after these trials.

        `price` is what configurations cost, where the sampler weighs that.
        """
        self._spec = spec
        self._space = space
        self._number = number
        self._price = price
        self._attempts = GP_ATTEMPTS if spec.sampler.name == "gp" or price is not None else ATTEMPTS
        if spec.sampler.name in LEARN_FROM_COMPLETE:
            trials = list(_as_complete(trials, spec.maximize))
        self._view = StorageView(storage, study_id, trials)
        self._study = self._view.study(spec.name)
        self._searched = searched(space)

    def unused(self, taken: set[Key]) -> tuple[Params, dict[str, Any]] | None:
        """Return a configuration whose key is not taken, and the sampler's notes about it; None when there is none."""
        size = self._space.size()
        if size is not None and len(taken) >= size:
            return None
        if self._spec.sampler.name != "grid":
            for attempt in range(self._attempts if size is not None else self._attempts + RANDOM_ATTEMPTS):
                params, notes = self._proposal(attempt)
                if self._space.key(params) not in taken:
                    return params, notes
        return None if size is None else (self._unused_of(size, taken), {})

    def around(self, given: Params, taken: set[Key]) -> Params:
        """Return a configuration with the given values, and the sampler's for all else.

        Its key is not taken, unless none such was proposed.
        The sampler proposes as for a whole configuration, and the given values take the place of its own, as in
        Optuna's `enqueue_trial`. A grid has no proposals, so the rest is random there.
        """
        first = self._attempts if self._spec.sampler.name == "grid" else 0
        params: Params = {}
        for attempt in range(first, first + self._attempts + 1):
            params = self._space.clip({**self._proposal(attempt)[0], **given})
            if self._space.key(params) not in taken:
                break
        return params

    def _proposal(self, attempt: int) -> tuple[Params, dict[str, Any]]:
        """Return the sampler's proposal, and the notes to store with it; after `_attempts` a random configuration."""
        self._view.notes = {}
        sampler = self._sampler(attempt)
        # The trial does not exist yet: samplers ask for its number only, and leave notes under its id.
        trial = create_trial(state=TrialState.RUNNING)
        trial.number = self._number
        joint = self._searched
        if isinstance(sampler, CmaEsSampler):
            joint = {name: d for name, d in joint.items() if not isinstance(d, CategoricalDistribution)}
        drawn = {} if isinstance(sampler, RandomSampler) else sampler.sample_relative(self._study, trial, joint)
        for name, d in self._searched.items():
            if name not in drawn:
                drawn[name] = sampler.sample_independent(self._study, trial, name, d)
        first = {name: d.low if isinstance(d, Range) else d[0] for name, d in self._space.free().items()}
        # Only CMA-ES keeps state in its trials; the notes of others are for configurations stored value by value.
        notes = self._view.notes if isinstance(sampler, CmaEsSampler) else {}
        near = near_priors(self._space, self._spec.seed, self._number, attempt) if attempt < self._attempts else {}
        return self._space.clip(first | drawn | near), notes

    def _sampler(self, attempt: int) -> BaseSampler:
        seed = self._seed(attempt)
        if attempt >= self._attempts:
            return RandomSampler(seed=seed)
        return make_sampler(self._spec, seed, self._number - 1 + attempt, self._price)  # trial 0 is the baseline

    def _seed(self, attempt: int) -> int:
        return int(np.random.SeedSequence([self._spec.seed, self._number, attempt]).generate_state(1)[0])

    def _unused_of(self, size: int, taken: set[Key]) -> Params:
        """Return one of the configurations of a finite space that no trial has, uniformly; there is at least one."""
        space = self._space
        rng = random.Random(self._seed(self._attempts))  # noqa: S311 - not a secret
        if 2 * len(taken) < size:  # then a blind choice is new every other time, however large the space
            while True:
                params = space.configuration(rng.randrange(size))
                if space.key(params) not in taken:
                    return params
        every = (space.configuration(index) for index in range(size))
        return rng.choice([params for params in every if space.key(params) not in taken])


def as_pruned(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial that waits at a rung as one that was pruned there.

    It has all of its evaluations, and nobody trains it: as a running one it would keep the sampler away from its
    configuration, as if that were bad, and nothing would be learned from it.
    """
    if trial.state.is_finished():
        return trial
    shown = copy.copy(trial)
    shown.state = TrialState.PRUNED
    shown.values = None if trial.last_step is None else [trial.intermediate_values[trial.last_step]]
    return shown


def is_infeasible(trial: FrozenTrial) -> bool:
    """Return whether the trial diverged or did not fit in memory."""
    return any(value > 0 for value in trial.constraints.values())


def _as_complete(trials: list[FrozenTrial], maximize: bool) -> Iterable[FrozenTrial]:
    """Yield the trials for samplers that learn from complete ones only.

    A pruned trial counts with the last score it reported. A trial that diverged or did not fit in memory counts with
    the worst score of the study, as crashed runs do in SMAC (F. Hutter et al. 2011, Sequential Model-Based Optimization
    for General Algorithm Configuration).
    """
    values = [t.value for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED) and t.value is not None]
    worst = (min if maximize else max)(values, default=None)
    for trial in trials:
        if trial.state != TrialState.PRUNED:
            yield trial
            continue
        value = worst if is_infeasible(trial) else trial.value
        if value is not None:
            shown = copy.copy(trial)
            shown.state = TrialState.COMPLETE
            shown.value = value
            shown.system_attrs = {k: v for k, v in trial.system_attrs.items() if not k.startswith(CONSTRAINT)}
            yield shown
