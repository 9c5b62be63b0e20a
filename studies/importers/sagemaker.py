"""A tuning job of SageMaker as a draft; keys as in its API, CreateHyperParameterTuningJob."""

from collections.abc import Mapping
from typing import Any

from luthier.studies.importers.draft import Draft

_SAMPLERS = {"Bayesian": "tpe", "Random": "random", "Grid": "grid", "Hyperband": "tpe"}
_KNOWN = (
    *("Strategy", "HyperParameterTuningJobObjective", "ResourceLimits", "ParameterRanges", "RandomSeed"),
    *("TrainingJobEarlyStoppingType", "TuningJobCompletionCriteria"),
)


def read_job(document: Mapping[str, Any]) -> Draft:
    """Return the draft of a tuning job, or of its configuration alone."""
    draft = Draft("a tuning job of SageMaker")
    inner = document.get("HyperParameterTuningJobConfig")
    under: tuple[str, ...] = ("HyperParameterTuningJobConfig",) if isinstance(inner, Mapping) else ()
    config: Mapping[str, Any] = inner if isinstance(inner, Mapping) else document
    if under:
        draft.put(("name",), document.get("HyperParameterTuningJobName"))
        why = "no equal here: trials are fine-tuned by Luthier itself"
        draft.leave_rest(document, *under, "HyperParameterTuningJobName", why=why)
    draft.put(("sampler", "name"), _SAMPLERS.get(str(config.get("Strategy"))))
    draft.put(("pruner", "name"), "hyperband" if config.get("Strategy") == "Hyperband" else None)
    if config.get("TrainingJobEarlyStoppingType") == "Auto":
        draft.put(("pruner", "name"), "median")
    goal = config.get("HyperParameterTuningJobObjective") or {}
    if goal:
        path = (*under, "HyperParameterTuningJobObjective")
        draft.objective(path, goal.get("MetricName"), goal.get("Type") == "Maximize")
    limits = config.get("ResourceLimits") or {}
    draft.put(("budget", "trials"), limits.get("MaxNumberOfTrainingJobs"))
    draft.put(("budget", "wall_clock_seconds"), limits.get("MaxRuntimeInSeconds"))
    draft.put(("parallel",), limits.get("MaxParallelTrainingJobs"))
    criteria = config.get("TuningJobCompletionCriteria") or {}
    draft.put(("budget", "target"), criteria.get("TargetObjectiveMetricValue"))
    draft.put(("seed",), config.get("RandomSeed"))
    for kind, ranges in (config.get("ParameterRanges") or {}).items():
        for number, given in enumerate(ranges or ()):
            _parameter(draft, (*under, "ParameterRanges", kind, number), given)
    draft.leave_rest(config, *_KNOWN, under=under)
    return draft


def _parameter(draft: Draft, path: tuple[str | int, ...], given: Mapping[str, Any]) -> None:
    name = str(given.get("Name"))
    if "Values" in given:
        draft.choices(path, name, given["Values"])
        return
    scale = given.get("ScalingType", "Auto")
    if scale == "ReverseLogarithmic":
        draft.leave((*path, "ScalingType"), "ReverseLogarithmic has no equal here")
        return
    draft.range(path, name, given.get("MinValue"), given.get("MaxValue"), log=scale == "Logarithmic")
