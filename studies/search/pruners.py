"""Which trials end early. Steps are counted from 1; a step is the same amount of data seen in every trial."""

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


def make_pruner(spec: StudySpec) -> BasePruner:
    """The spec's pruner. It is cheap to make, and Hyperband's is not safe to share between threads."""
    p = spec.pruner
    startup = 5 if p.startup_trials is None else p.startup_trials
    # Optuna spares steps below this one; with steps from 1, sparing `warmup_steps` of them means those up to it.
    warmup = (p.warmup_steps or 0) + 1
    if p.name == "median":
        return MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    if p.name == "percentile":
        kept = 25.0 if p.percentile is None else p.percentile
        return PercentilePruner(kept, n_startup_trials=startup, n_warmup_steps=warmup)
    if p.name == "patient":
        return _patient(1 if p.patience is None else p.patience, startup, warmup)
    if p.name == "hyperband":  # Li et al. 2018, sections 3.1 and 3.2: eta = 3, one evaluation is the smallest resource
        return HyperbandPruner(min_resource=1, max_resource=spec.max_steps, reduction_factor=p.reduction_factor or 3)
    if p.name == "halving":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=p.reduction_factor or 4)
    return NopPruner()


@cache
def _patient(patience: int, startup: int, warmup: int) -> BasePruner:
    median = MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PatientPruner(median, patience=patience)
