"""A sweep of Weights & Biases as a draft; keys as in its reference of sweep configurations."""

import math
from collections.abc import Mapping
from typing import Any

from luthier.studies.importers.draft import Draft

_METHODS = {"bayes": "tpe", "random": "random", "grid": "grid"}
_RANGES = {"uniform": False, "log_uniform_values": True, "log_uniform": True, "int_uniform": False}
_RANGES |= {f"q_{name}": log for name, log in _RANGES.items() if name != "int_uniform"}
_IN_EXPONENTS = ("log_uniform", "q_log_uniform")
_INVERSE = "inv_log_uniform"


def read_sweep(document: Mapping[str, Any]) -> Draft:
    """Return the draft of a sweep."""
    draft = Draft("a sweep of Weights & Biases")
    draft.put(("name",), document.get("name"))
    method = document.get("method")
    if method in _METHODS:
        draft.put(("sampler", "name"), _METHODS[method])
    elif method is not None:
        draft.leave("method", f"no sampler here is like {method}")
    goal = document.get("metric")
    if isinstance(goal, Mapping):
        direction = goal.get("goal")
        draft.objective(("metric", "name"), goal.get("name"), None if direction is None else direction == "maximize")
        draft.put(("budget", "target"), goal.get("target"))
        draft.leave_rest(goal, "name", "goal", "target", under=("metric",))
    parameters = document.get("parameters")
    for name, given in parameters.items() if isinstance(parameters, Mapping) else ():
        _parameter(draft, ("parameters", name), str(name), given)
    draft.put(("budget", "trials"), document.get("run_cap"))
    _early_end(draft, document.get("early_terminate"))
    known = ("name", "method", "metric", "parameters", "run_cap", "early_terminate")
    draft.leave_rest(document, *known, why="not run and not kept: trials are fine-tuned by Luthier itself")
    return draft


def _parameter(draft: Draft, path: tuple[str | int, ...], name: str, given: Any) -> None:
    if not isinstance(given, Mapping):
        draft.fixed(path, name, given)
    elif isinstance(given.get("parameters"), Mapping):
        for inner, value in given["parameters"].items():
            _parameter(draft, (*path, "parameters", inner), str(inner), value)
    elif "value" in given:
        draft.fixed(path, name, given["value"])
    elif "values" in given:
        draft.choices((*path, "values"), name, given["values"])
        if "probabilities" in given:
            draft.leave((*path, "probabilities"), "choices are drawn alike")
    elif "min" in given and "max" in given:
        _range(draft, path, name, given)
    else:
        draft.leave(
            path, f"a distribution {given.get('distribution', 'without bounds')} has no equal here: give low and high"
        )


def _range(draft: Draft, path: tuple[str | int, ...], name: str, given: Mapping[str, Any]) -> None:
    kind = given.get("distribution", "uniform")
    low, high = given["min"], given["max"]
    if kind not in _RANGES:
        draft.leave((*path, "distribution"), f"{kind} has no equal here: give low and high")
        return
    if kind in _IN_EXPONENTS:
        try:
            low, high = (float(f"{math.exp(float(bound)):.6g}") for bound in (low, high))
        except (TypeError, ValueError, OverflowError):
            draft.leave(path, "its bounds are no exponents of e")
            return
    draft.range(path, name, low, high, log=_RANGES[kind], step=given.get("q"))


def _early_end(draft: Draft, given: Any) -> None:
    if not isinstance(given, Mapping):
        return
    if given.get("type") != "hyperband":
        draft.leave("early_terminate", "no pruner here is like it")
        return
    draft.put(("pruner", "name"), "hyperband")
    draft.put(("pruner", "reduction_factor"), given.get("eta"))
    draft.leave_rest(given, "type", "eta", under=("early_terminate",), why="rungs here follow from the epochs")
