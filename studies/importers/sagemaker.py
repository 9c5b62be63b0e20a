"""A tuning job of SageMaker as a draft; keys as in its API, CreateHyperParameterTuningJob."""

from collections.abc import Mapping
from typing import Any

from luthier.studies.importers.draft import Draft
from luthier.studies.importers.part import NOT_TAKEN, Part

_SAMPLERS = {"Bayesian": "tpe", "Random": "random", "Grid": "grid", "Hyperband": "tpe"}
_PRUNERS = {"Auto": "median", "Off": None}
_RANGES = ("ContinuousParameterRanges", "IntegerParameterRanges", "CategoricalParameterRanges")
_LOG = {"Auto": False, "Linear": False, "Logarithmic": True}


def read_job(document: Mapping[str, Any]) -> Draft:
    """Return the draft of a tuning job, or of its configuration alone. Raises ValueError where it has no ranges."""
    draft = Draft("a tuning job of SageMaker")
    config = job = Part(draft, document)
    if "HyperParameterTuningJobConfig" in document:
        config = job.needed("HyperParameterTuningJobConfig")
        job.put(("name",), "HyperParameterTuningJobName")
        job.rest("no equal here: trials are fine-tuned by Luthier itself")
    ranges = config.needed("ParameterRanges")
    strategy = config.at("Strategy")
    draft.put(("sampler", "name"), config.word("Strategy", _SAMPLERS, "sampler"), strategy)
    if config.raw("Strategy") == "Hyperband":
        draft.put(("pruner", "name"), "hyperband", strategy)
    early = "TrainingJobEarlyStoppingType"
    draft.put(("pruner", "name"), config.word(early, _PRUNERS, "pruner"), config.at(early))
    if (goal := config.mapping("HyperParameterTuningJobObjective")) is not None:
        maximize = goal.word("Type", {"Maximize": True, "Minimize": False}, "direction")
        draft.objective(goal.at("MetricName"), goal.raw("MetricName"), maximize, goal.at("Type"))
        goal.rest()
    if (limits := config.mapping("ResourceLimits")) is not None:
        limits.put(("budget", "trials"), "MaxNumberOfTrainingJobs")
        limits.put(("budget", "wall_clock_seconds"), "MaxRuntimeInSeconds")
        limits.put(("parallel",), "MaxParallelTrainingJobs")
        limits.rest()
    if (criteria := config.mapping("TuningJobCompletionCriteria")) is not None:
        criteria.put(("budget", "target"), "TargetObjectiveMetricValue")
        criteria.rest()
    config.put(("seed",), "RandomSeed")
    for kind in _RANGES:
        for given in ranges.parts(kind):
            _parameter(draft, given)
    ranges.rest()
    config.rest()
    return draft


def _parameter(draft: Draft, given: Part) -> None:
    name = given.text("Name")
    if name is None:
        draft.leave(given.path, "has no name")
        return
    if "Values" in given:
        draft.choices(given.at("Values"), name, given.raw("Values"))
    else:
        log = given.word("ScalingType", _LOG, "scale")
        low, high = given.raw("MinValue"), given.raw("MaxValue")
        if log is not None or "ScalingType" not in given:
            draft.range(given.path, name, low, high, bool(log))
        else:
            draft.leave(given.path, NOT_TAKEN)
    given.rest()
