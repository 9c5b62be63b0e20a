"""A StudySpec of Vizier as a draft; keys as in Vertex AI's API and in the open-source one (snake_case)."""

import re
from collections.abc import Mapping
from typing import Any

from luthier.studies.documents import Path
from luthier.studies.importers.draft import Draft

_SAMPLERS = {"GRID_SEARCH": "grid", "RANDOM_SEARCH": "random", "GAUSSIAN_PROCESS_BANDIT": "gp", "CMA_ES": "cmaes"}
_MEASUREMENTS = {"BEST_MEASUREMENT": "best", "LAST_MEASUREMENT": "last"}


def read_study_spec(document: Mapping[str, Any]) -> Draft:
    """Return the draft of a StudySpec, alone or inside a tuning job."""
    draft = Draft("a StudySpec of Vizier")
    outer = _camel(document)
    inner = outer.get("studySpec")
    under: tuple[str, ...] = ("studySpec",) if isinstance(inner, Mapping) else ()
    spec = _camel(inner) if isinstance(inner, Mapping) else outer
    if under:
        draft.put(("name",), outer.get("displayName"))
        draft.put(("budget", "trials"), outer.get("maxTrialCount"))
        draft.put(("budget", "failures"), outer.get("maxFailedTrialCount"))
        draft.put(("parallel",), outer.get("parallelTrialCount"))
        known = ("displayName", "maxTrialCount", "maxFailedTrialCount", "parallelTrialCount", *under)
        draft.leave_rest(outer, *known, why="no equal here: trials are fine-tuned by Luthier itself")
    for number, metric in enumerate(spec.get("metrics") or ()):
        path: Path = (*under, "metrics", number)
        given = _camel(metric)
        if number:
            draft.leave(path, "a study has one objective")
        else:
            draft.objective(path, given.get("metricId", given.get("name")), given.get("goal") == "MAXIMIZE")
    algorithm = str(spec.get("algorithm", "ALGORITHM_UNSPECIFIED"))
    draft.put(("sampler", "name"), _SAMPLERS.get(algorithm, "tpe"))
    if "medianAutomatedStoppingSpec" in spec:
        draft.put(("pruner", "name"), "median")
    draft.put(("objective", "measurement"), _MEASUREMENTS.get(str(spec.get("measurementSelectionType"))))
    for number, parameter in enumerate(spec.get("parameters") or ()):
        _parameter(draft, (*under, "parameters", number), _camel(parameter))
    known = ("metrics", "parameters", "algorithm", "medianAutomatedStoppingSpec", "measurementSelectionType")
    draft.leave_rest(spec, *known, under=under)
    return draft


def _parameter(draft: Draft, path: tuple[str | int, ...], given: Mapping[str, Any]) -> None:
    name = str(given.get("parameterId", given.get("name")))
    for kind in ("categoricalValueSpec", "discreteValueSpec"):
        if kind in given:
            draft.choices((*path, kind), name, _camel(given[kind]).get("values"))
            return
    space = next((_camel(given[kind]) for kind in ("doubleValueSpec", "integerValueSpec") if kind in given), None)
    scale = str(given.get("scaleType", "UNIT_LINEAR_SCALE"))
    if space is None:
        draft.leave(path, "has neither a range nor values")
    elif scale == "UNIT_REVERSE_LOG_SCALE":
        draft.leave((*path, "scaleType"), f"{scale} has no equal here")
    else:
        draft.range(path, name, space.get("minValue"), space.get("maxValue"), log=scale == "UNIT_LOG_SCALE")
    if "conditionalParameterSpecs" in given:
        draft.leave((*path, "conditionalParameterSpecs"), "a space here has no parameters that hang on others")


def _camel(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with its keys as `minValue` for `min_value`."""
    return {re.sub(r"_([a-z])", lambda found: found[1].upper(), key): value for key, value in mapping.items()}
