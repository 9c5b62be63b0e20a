"""How one configuration is drawn: the space as Optuna's distributions, and the samplers over it.

A draw depends on the study's seed, the trial's number and the trials before it, on nothing else, so a study that goes
on in another process draws what it would have drawn in this one.
"""

import copy
import warnings
from collections.abc import Container, Iterable
from functools import cache
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from luthier.studies.dimensions import Range
from luthier.studies.hyperparameters import Params
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec

_NEEDS = {"gp": ("torch", "scipy"), "qmc": ("scipy",), "cmaes": ("cmaes",)}
CONSTRAINT = "constraints:"  # Optuna's prefix of a constraint among a trial's system attributes; above 0: infeasible


def missing_packages(spec: StudySpec) -> list[str]:
    """Packages which the spec's sampler needs and which are not installed here. Imports none of them."""
    return [package for package in _NEEDS.get(spec.sampler.name, ()) if find_spec(package) is None]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Hyperparameter -> distribution, of the dimensions that are searched."""
    found: dict[str, BaseDistribution] = {}
    for name, d in space.free().items():
        if isinstance(d, tuple):
            found[name] = CategoricalDistribution(d)
            continue
        # Optuna wants `high` to lie on the lattice.
        high = d.value(d.count - 1) if d.finite else cast(float, d.high)
        if isinstance(d.low, int):
            found[name] = IntDistribution(d.low, int(high), log=d.log, step=int(d.step or 1))
        else:
            step = None if d.step is None or d.low == high else float(d.step)
            found[name] = FloatDistribution(d.low, high, log=d.log, step=step)
    return found


class _Sobol(QMCSampler):
    """A scrambled Sobol sequence whose point is chosen by us, not by a counter in the storage."""

    point = 0

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self.point


@cache
def _sobol(seed: int) -> _Sobol:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _Sobol(scramble=True, seed=seed, warn_independent_sampling=False)


class View:
    """A storage as a sampler or pruner sees it while it makes up its mind.

    The trials are read once. What is noted about the trial in question is kept in `notes`, for the caller to store
    together with the decision. Everything else goes to the storage.
    """

    def __init__(self, storage: BaseStorage, study_id: int, trials: list[FrozenTrial] | None = None) -> None:
        self._storage, self._study_id, self._trials = storage, study_id, trials
        self.notes: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def study(self, name: str) -> Study:
        return Study(name, cast(BaseStorage, self), RandomSampler(), NopPruner())

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._study_id

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if self._trials is None:
            self._trials = self._storage.get_all_trials(study_id, deepcopy=False)
        return [t for t in self._trials if states is None or t.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.notes[key] = value


class Draws:
    """Configurations proposed for one trial, one after the other until a new one is among them."""

    def __init__(
        self, spec: StudySpec, space: Space, number: int, storage: BaseStorage, study_id: int, trials: list[FrozenTrial]
    ) -> None:
        self._spec, self._space, self._number = spec, space, number
        if spec.sampler.name in ("gp", "cmaes"):
            trials = list(_as_complete(trials, spec.maximize))
        self._view = View(storage, study_id, trials)
        self._study = self._view.study(spec.name)
        # A dimension with one value tells a model nothing, and some samplers refuse it.
        self._searched = {name: d for name, d in distributions(space).items() if not d.single()}

    @property
    def attempts(self) -> int:
        """How often it is worth asking the sampler: a Gaussian process is slow and proposes the same again."""
        return 2 if self._spec.sampler.name == "gp" else 10

    def proposal(self, attempt: int) -> tuple[Params, dict[str, Any]]:
        """A configuration, and what the sampler wants remembered with it. Beyond `attempts` it is a random one."""
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
        fixed = {name: d.low if isinstance(d, Range) else d[0] for name, d in self._space.free().items()}
        # Only CMA-ES keeps state in its trials; what others note is for configurations stored piece by piece.
        notes = self._view.notes if isinstance(sampler, CmaEsSampler) else {}
        return self._space.clip(fixed | drawn), notes

    def seed(self, attempt: int) -> int:
        return int(np.random.SeedSequence([self._spec.seed, self._number, attempt]).generate_state(1)[0])

    def _sampler(self, attempt: int) -> BaseSampler:
        seed, options = self.seed(attempt), self._spec.sampler
        name = options.name if attempt < self.attempts else "random"
        if name == "tpe":
            return TPESampler(n_startup_trials=options.startup_trials or 10, seed=seed)
        if name == "gp":
            return GPSampler(n_startup_trials=options.startup_trials or 10, seed=seed, warn_independent_sampling=False)
        if name == "cmaes":
            return CmaEsSampler(
                n_startup_trials=options.startup_trials or 1, seed=seed, warn_independent_sampling=False
            )
        if name == "qmc":
            sobol = copy.copy(_sobol(self._spec.seed))
            sobol.point = self._number - 1 + attempt
            return sobol
        return RandomSampler(seed=seed)


def _as_complete(trials: list[FrozenTrial], maximize: bool) -> Iterable[FrozenTrial]:
    """The trials for samplers that learn from complete ones only.

    A pruned trial counts with the last score it reported; one that diverged or did not fit in memory with the worst
    score of the study, as crashed runs do in SMAC (Hutter et al. 2011).
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
            shown.state, shown.value = TrialState.COMPLETE, value
            shown.system_attrs = {k: v for k, v in trial.system_attrs.items() if not k.startswith(CONSTRAINT)}
            yield shown


def is_infeasible(trial: FrozenTrial) -> bool:
    """Whether the trial diverged or did not fit in memory."""
    return any(value > 0 for key, value in trial.system_attrs.items() if key.startswith(CONSTRAINT))
