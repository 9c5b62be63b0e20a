"""The samplers that a spec can name, set up for one trial.

`drawing.py` asks them for configurations. A sampler's choices depend on its seed and on the trials that it is shown, on
nothing else, so a study that another process continues draws the same configurations there.
"""

import copy
import warnings
from functools import cache
from importlib.util import find_spec

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study

from luthier.studies.search.cost_aware import CostAwareTpe, Price
from luthier.studies.spec import StudySpec
from luthier.studies.strategy import STARTUP_TRIALS

LEARN_FROM_COMPLETE = ("gp", "cmaes")  # samplers that would not see a pruned trial
_NEEDS = {"gp": ("torch", "scipy"), "qmc": ("scipy",), "cmaes": ("cmaes",)}


def missing_packages(spec: StudySpec) -> list[str]:
    """Return the packages that the spec's sampler needs and that are not installed here. Imports none of them."""
    return [package for package in _NEEDS.get(spec.sampler.name, ()) if find_spec(package) is None]


def make_sampler(spec: StudySpec, seed: int, point: int, price: Price | None = None) -> BaseSampler:
    """Return the spec's sampler.

    Args:
        spec: The study's spec.
        seed: Of this draw: another one for each trial and each attempt. The Sobol sequence has the study's instead.
        point: The position in the Sobol sequence, from 0; other samplers ignore it.
        price: What configurations cost, where TPE is to weigh it.
    """
    name = spec.sampler.name
    startup = spec.sampler.startup_trials or STARTUP_TRIALS.get(name, 0)
    if price is not None:
        return CostAwareTpe(startup, seed, price)
    if name == "tpe":
        return TPESampler(n_startup_trials=startup, seed=seed)
    if name == "gp":
        return GPSampler(n_startup_trials=startup, seed=seed, warn_independent_sampling=False)
    if name == "cmaes":
        return CmaEsSampler(n_startup_trials=startup, seed=seed, warn_independent_sampling=False)
    if name == "qmc":
        sobol = copy.copy(_sobol(spec.seed))
        sobol.point = point
        return sobol
    return RandomSampler(seed=seed)


class Sobol(QMCSampler):
    """A scrambled Sobol sequence whose point is chosen by us, not by a counter in the storage."""

    point = 0

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self.point


@cache
def _sobol(seed: int) -> Sobol:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return Sobol(scramble=True, seed=seed, warn_independent_sampling=False)
