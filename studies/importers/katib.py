"""An experiment of Katib as a draft; keys as in its Experiment, kubeflow.org/v1beta1."""

from collections.abc import Mapping
from typing import Any

from luthier.studies.importers.draft import Draft, short
from luthier.studies.importers.part import NOT_TAKEN, Part

_SAMPLERS = {"random": "random", "grid": "grid", "tpe": "tpe", "multivariate-tpe": "tpe", "bayesianoptimization": "gp"}
_SAMPLERS |= {"cmaes": "cmaes", "sobol": "qmc", "hyperband": "tpe"}
_MEDIAN = {"min_trials_required": "startup_trials", "start_step": "warmup_steps"}
_KINDS = dict.fromkeys(("double", "int", "discrete", "categorical"), True)
_LOG = {"uniform": False, "logUniform": True}
_TRIAL = "its container is not run: trials are fine-tuned by Luthier itself"


def read_experiment(document: Mapping[str, Any]) -> Draft:
    """Return the draft of an experiment. Raises ValueError where it has no spec, or no list of parameters."""
    draft = Draft("an experiment of Katib")
    whole = Part(draft, document)
    spec = whole.needed("spec")
    whole.text("apiVersion")
    whole.word("kind", {"Experiment": True}, "kind of document")
    if (about := whole.mapping("metadata")) is not None:
        about.put(("name",), "name")
        about.rest("a study has no such thing")
    whole.rest()
    if (objective := spec.mapping("objective")) is not None:
        maximize = objective.word("type", {"maximize": True, "minimize": False}, "direction")
        name = objective.raw("objectiveMetricName")
        draft.objective(objective.at("objectiveMetricName"), name, maximize, objective.at("type"))
        objective.put(("budget", "target"), "goal")
        objective.rest("scores here are those of the task")
    if (algorithm := spec.mapping("algorithm")) is not None:
        _algorithm(draft, algorithm)
    if (early := spec.mapping("earlyStopping")) is not None:
        _early_end(draft, early)
    for parameter in spec.needed_parts("parameters") if "parameters" in spec else ():
        _parameter(draft, parameter)
    spec.put(("budget", "trials"), "maxTrialCount")
    spec.put(("budget", "failures"), "maxFailedTrialCount")
    spec.put(("parallel",), "parallelTrialCount")
    spec.rest(_TRIAL)
    return draft


def _algorithm(draft: Draft, algorithm: Part) -> None:
    at = algorithm.at("algorithmName")
    draft.put(("sampler", "name"), algorithm.word("algorithmName", _SAMPLERS, "sampler"), at)
    if algorithm.raw("algorithmName") == "hyperband":
        draft.put(("pruner", "name"), "hyperband", at)
    for setting in algorithm.parts("algorithmSettings"):
        name = setting.text("name")
        if name == "random_state":
            draft.fixed(setting.path, "seed", setting.raw("value"))
        else:
            _unknown(draft, setting, name)
        setting.rest()
    algorithm.rest()


def _unknown(draft: Draft, setting: Part, name: str | None) -> None:
    setting.raw("value")
    draft.leave(setting.path, f"{short(name)} has no equal here" if name else "has no name")


def _early_end(draft: Draft, given: Part) -> None:
    pruner = given.word("algorithmName", {"medianstop": "median"}, "pruner")
    draft.put(("pruner", "name"), pruner, given.at("algorithmName"))
    for setting in given.parts("algorithmSettings") if pruner is not None else ():
        name = setting.text("name")
        if name in _MEDIAN:
            setting.put(("pruner", _MEDIAN[name]), "value")
        else:
            _unknown(draft, setting, name)
        setting.rest()
    given.rest()


def _parameter(draft: Draft, given: Part) -> None:
    name = given.text("name")
    given.word("parameterType", _KINDS, "kind of parameter")
    space = given.mapping("feasibleSpace")
    if name is None or space is None:
        draft.leave(given.path, "lacks a name or a feasibleSpace")
        return
    if "list" in space:
        draft.choices(space.at("list"), name, space.raw("list"))
    else:
        log = space.word("distribution", _LOG, "distribution")
        low, high, step = space.raw("min"), space.raw("max"), space.raw("step")
        if log is not None or "distribution" not in space:
            draft.range(given.path, name, low, high, bool(log), step, space.at("step"))
        else:
            draft.leave(given.path, NOT_TAKEN)
    space.rest()
    given.rest()
