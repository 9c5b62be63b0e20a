"""An experiment of Katib as a draft; keys as in its Experiment, kubeflow.org/v1beta1."""

from collections.abc import Mapping
from typing import Any

from luthier.studies.importers.draft import Draft

_SAMPLERS = {"random": "random", "grid": "grid", "tpe": "tpe", "multivariate-tpe": "tpe", "bayesianoptimization": "gp"}
_SAMPLERS |= {"cmaes": "cmaes", "sobol": "qmc", "hyperband": "tpe"}
_TRIAL = "its container is not run: trials are fine-tuned by Luthier itself"


def read_experiment(document: Mapping[str, Any]) -> Draft:
    """Return the draft of an experiment."""
    draft = Draft("an experiment of Katib")
    draft.put(("name",), (document.get("metadata") or {}).get("name"))
    spec = document.get("spec")
    spec = spec if isinstance(spec, Mapping) else {}
    objective = spec.get("objective")
    if isinstance(objective, Mapping):
        draft.objective(
            ("spec", "objective"), objective.get("objectiveMetricName"), objective.get("type") == "maximize"
        )
        draft.put(("budget", "target"), objective.get("goal"))
        why = "scores here are those of the task"
        read = ("type", "goal", "objectiveMetricName")
        draft.leave_rest(objective, *read, under=("spec", "objective"), why=why)
    algorithm = spec.get("algorithm") or {}
    name = algorithm.get("algorithmName")
    if name in _SAMPLERS:
        draft.put(("sampler", "name"), _SAMPLERS[name])
        draft.put(("pruner", "name"), "hyperband" if name == "hyperband" else None)
    elif name is not None:
        draft.leave(("spec", "algorithm"), f"no sampler here is like {name}")
    for setting in algorithm.get("algorithmSettings") or ():
        if setting.get("name") == "random_state":
            draft.fixed(("spec", "algorithm"), "seed", int(setting["value"]))
        else:
            draft.leave(("spec", "algorithm", "algorithmSettings", str(setting.get("name"))), "no equal here")
    _early_end(draft, spec.get("earlyStopping") or {})
    for number, parameter in enumerate(spec.get("parameters") or ()):
        _parameter(draft, ("spec", "parameters", number), parameter)
    for key, ours in (("maxTrialCount", "trials"), ("maxFailedTrialCount", "failures")):
        draft.put(("budget", ours), spec.get(key))
    draft.put(("parallel",), spec.get("parallelTrialCount"))
    known = ("objective", "algorithm", "earlyStopping", "parameters", "maxTrialCount", "maxFailedTrialCount")
    draft.leave_rest(spec, *known, "parallelTrialCount", under=("spec",), why=_TRIAL)
    return draft


def _early_end(draft: Draft, given: Mapping[str, Any]) -> None:
    if given.get("algorithmName") == "medianstop":
        draft.put(("pruner", "name"), "median")
        settings = {one.get("name"): one.get("value") for one in given.get("algorithmSettings") or ()}
        for theirs, ours in (("min_trials_required", "startup_trials"), ("start_step", "warmup_steps")):
            if theirs in settings:
                draft.put(("pruner", ours), int(settings[theirs]))
    elif given:
        draft.leave(("spec", "earlyStopping"), "no pruner here is like it")


def _parameter(draft: Draft, path: tuple[str | int, ...], given: Mapping[str, Any]) -> None:
    name, space = str(given.get("name")), given.get("feasibleSpace") or {}
    if "list" in space:
        draft.choices((*path, "feasibleSpace"), name, space["list"])
        return
    kind = str(space.get("distribution", "uniform"))
    if kind not in ("uniform", "logUniform"):
        draft.leave((*path, "feasibleSpace", "distribution"), f"{kind} has no equal here: give low and high")
        return
    draft.range(path, name, space.get("min"), space.get("max"), log=kind == "logUniform", step=space.get("step"))
