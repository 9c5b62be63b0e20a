"""The pruners that a spec can name, which end trials early.

`pruning.py` asks one at each report. Steps are counted from 1; a step is the same amount of data in every trial. asha
is none of Optuna's: it pauses trials, by the service's own rows (`service/lifecycle/promotions.py`).
"""

import copy
import math
import warnings

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
from optuna.study import Study
from optuna.trial import FrozenTrial

from luthier.studies.prunable import patience_of
from luthier.studies.semantics import COMPARED_BY_SHARE, STANDSTILL_ENDS
from luthier.studies.spec import StudySpec
from luthier.studies.strategy import (
    HALVING_FACTOR,
    HYPERBAND_FACTOR,
    LEAST_VALUES,
    PERCENTILE,
    QUORUM,
    SMALLEST_RESOURCE,
)


def make_pruner(spec: StudySpec) -> BasePruner:
    """Return the spec's pruner, a new one each time: Hyperband's is not safe to share between threads."""
    p = spec.pruner
    startup, least = QUORUM if p.startup_trials is None else p.startup_trials, 1
    if spec.semantics >= COMPARED_BY_SHARE:  # it sees few of the trials; `pruning.py` counts all that are complete
        startup, least = 0, LEAST_VALUES
    # Optuna spares steps below this one; with steps from 1, sparing `warmup_steps` of them means those up to it.
    warmup = (p.warmup_steps or 0) + 1
    if p.name == "median":
        return MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup, n_min_trials=least)
    if p.name == "percentile":
        percentile = PERCENTILE if p.percentile is None else p.percentile
        return PercentilePruner(percentile, n_startup_trials=startup, n_warmup_steps=warmup, n_min_trials=least)
    if p.name == "patient":
        median = MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup, n_min_trials=least)
        if spec.semantics < STANDSTILL_ENDS:
            return _optunas_patient(median, patience_of(p))
        return Patient(median, patience_of(p), spec.maximize)
    if p.name == "hyperband":
        factor = p.reduction_factor or HYPERBAND_FACTOR
        return HyperbandPruner(min_resource=SMALLEST_RESOURCE, max_resource=spec.max_steps, reduction_factor=factor)
    if p.name == "halving":
        factor = p.reduction_factor or HALVING_FACTOR
        return SuccessiveHalvingPruner(min_resource=SMALLEST_RESOURCE, reduction_factor=factor)
    return NopPruner()


class Patient(BasePruner):
    """Ends a trial that has made no progress for more than `patience` evaluations and is no better than the median.

    Optuna's PatientPruner takes an evaluation that is as good as the best one before for progress, so that it never
    ends a trial that stands still. Here only a better one is. A trial that stands still where the median is ends too:
    of equals the earlier trial wins. What it decides depends on the reported scores alone.
    """

    def __init__(self, median: MedianPruner, patience: int, maximize: bool) -> None:
        self._median = median
        self._patience = patience
        self._sign = 1.0 if maximize else -1.0

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether the trial, at its latest evaluation, is to end now."""
        scores = [self._sign * trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
        before, after = scores[: -self._patience - 1], scores[-self._patience - 1 :]
        if not before or max(after) > max(before):
            return False
        # The median pruner spares equals: shown the next float below, it compares with "no better than".
        lower = copy.copy(trial)
        lower.intermediate_values = {
            step: math.nextafter(value, -self._sign * math.inf) for step, value in trial.intermediate_values.items()
        }
        return bool(self._median.prune(study, lower))


def _optunas_patient(median: MedianPruner, patience: int) -> BasePruner:
    """Return the pruner of studies whose semantics are older: an equal score is progress."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PatientPruner(median, patience=patience)
