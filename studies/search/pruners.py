"""The pruners that a spec can name, which end trials early.

`search.py` asks one at each report. Steps are counted from 1; a step is the same amount of data in every trial.
"""

import warnings
from functools import cache

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)

from luthier.studies.spec import StudySpec
from luthier.studies.strategy import HALVING_FACTOR, HYPERBAND_FACTOR, PATIENCE, PERCENTILE, QUORUM

SMALLEST_RESOURCE = 1  # evaluations: the shortest training that a rung compares


def make_pruner(spec: StudySpec) -> BasePruner:
    """Return the spec's pruner, a new one each time: Hyperband's is not safe to share between threads."""
    p = spec.pruner
    startup = QUORUM if p.startup_trials is None else p.startup_trials
    # Optuna spares steps below this one; with steps from 1, sparing `warmup_steps` of them means those up to it.
    warmup = (p.warmup_steps or 0) + 1
    if p.name == "median":
        return MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    if p.name == "percentile":
        percentile = PERCENTILE if p.percentile is None else p.percentile
        return PercentilePruner(percentile, n_startup_trials=startup, n_warmup_steps=warmup)
    if p.name == "patient":
        return _patient(PATIENCE if p.patience is None else p.patience, startup, warmup)
    if p.name == "hyperband":
        factor = p.reduction_factor or HYPERBAND_FACTOR
        return HyperbandPruner(min_resource=SMALLEST_RESOURCE, max_resource=spec.max_steps, reduction_factor=factor)
    if p.name == "halving":
        factor = p.reduction_factor or HALVING_FACTOR
        return SuccessiveHalvingPruner(min_resource=SMALLEST_RESOURCE, reduction_factor=factor)
    return NopPruner()


@cache
def _patient(patience: int, startup: int, warmup: int) -> BasePruner:
    median = MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PatientPruner(median, patience=patience)
