"""A sweep of Weights & Biases as a draft; keys as in its reference of sweep configurations."""

import math
from collections.abc import Mapping
from typing import Any

from luthier.studies.importers.draft import Draft, number
from luthier.studies.importers.part import NOT_TAKEN, Part

_METHODS = {"bayes": "tpe", "random": "random", "grid": "grid"}
_RANGES = {"uniform": False, "log_uniform_values": True, "log_uniform": True, "int_uniform": False}
_RANGES |= {f"q_{name}": log for name, log in _RANGES.items() if name != "int_uniform"}
_IN_EXPONENTS = ("log_uniform", "q_log_uniform")
_OF_VALUES = {"constant": True, "categorical": True, "categorical_w_probabilities": True}


def read_sweep(document: Mapping[str, Any]) -> Draft:
    """Return the draft of a sweep. Raises ValueError where it has no parameters."""
    draft = Draft("a sweep of Weights & Biases")
    sweep = Part(draft, document)
    parameters = sweep.needed("parameters")
    sweep.put(("name",), "name")
    draft.put(("sampler", "name"), sweep.word("method", _METHODS, "sampler"), sweep.at("method"))
    if (goal := sweep.mapping("metric")) is not None:
        maximize = goal.word("goal", {"maximize": True, "minimize": False}, "direction")
        draft.objective(goal.at("name"), goal.raw("name"), maximize, goal.at("goal"))
        goal.put(("budget", "target"), "target")
        goal.rest()
    _parameters(draft, parameters)
    sweep.put(("budget", "trials"), "run_cap")
    if (end := sweep.mapping("early_terminate")) is not None:
        _early_end(draft, end)
    sweep.rest("not run and not kept: trials are fine-tuned by Luthier itself")
    return draft


def _parameters(draft: Draft, parameters: Part) -> None:
    for name in parameters:
        given = parameters.raw(name)
        if isinstance(given, Mapping):
            _parameter(draft, Part(draft, given, parameters.at(name)), name)
        else:
            draft.fixed(parameters.at(name), name, given)


def _parameter(draft: Draft, given: Part, name: str) -> None:
    if "parameters" in given:
        if (inner := given.mapping("parameters")) is not None:
            _parameters(draft, inner)
    elif "value" in given:
        given.word("distribution", _OF_VALUES, "distribution of values")
        draft.fixed(given.path, name, given.raw("value"))
    elif "values" in given:
        given.word("distribution", _OF_VALUES, "distribution of values")
        draft.choices(given.at("values"), name, given.raw("values"))
        if given.raw("probabilities") is not None:
            draft.leave(given.at("probabilities"), "choices are drawn alike")
    elif "min" in given and "max" in given:
        _range(draft, given, name)
    else:
        kind = given.raw("distribution") or "without bounds"
        draft.leave(given.path, f"a distribution {kind} has no equal here: give low and high")
        return
    given.rest()


def _range(draft: Draft, given: Part, name: str) -> None:
    kind = given.raw("distribution") or "uniform"
    if not isinstance(kind, str) or kind not in _RANGES:
        draft.leave(given.at("distribution"), f"{kind} has no equal here: give low and high")
        draft.leave(given.path, NOT_TAKEN)
        for key in ("min", "max", "q"):
            given.raw(key)  # said with the parameter
        return
    low, high, step = given.raw("min"), given.raw("max"), given.raw("q")
    if kind in _IN_EXPONENTS:
        try:
            low, high = (float(f"{math.exp(number(bound)):.6g}") for bound in (low, high))
        except (TypeError, ValueError, OverflowError):
            draft.leave(given.path, "its bounds are no exponents of e")
            return
    draft.range(given.path, name, low, high, _RANGES[kind], step, given.at("q"))


def _early_end(draft: Draft, given: Part) -> None:
    pruner = given.word("type", {"hyperband": "hyperband"}, "pruner")
    draft.put(("pruner", "name"), pruner, given.at("type"))
    if pruner is not None:
        given.put(("pruner", "reduction_factor"), "eta")
    given.rest("rungs here follow from the epochs")
