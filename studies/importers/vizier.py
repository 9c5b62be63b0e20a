"""A StudySpec of Vizier as a draft; keys as in Vertex AI's API and in the open-source one (snake_case)."""

import re
from collections.abc import Mapping
from typing import Any

from luthier.studies.importers.draft import Draft
from luthier.studies.importers.part import NOT_TAKEN, Part

_SAMPLERS = {"GRID_SEARCH": "grid", "RANDOM_SEARCH": "random", "GAUSSIAN_PROCESS_BANDIT": "gp", "CMA_ES": "cmaes"}
_SAMPLERS |= {"ALGORITHM_UNSPECIFIED": "tpe", "DEFAULT": "tpe"}
_MEASUREMENTS = {"BEST_MEASUREMENT": "best", "LAST_MEASUREMENT": "last", "MEASUREMENT_SELECTION_TYPE_UNSPECIFIED": None}
_LOG = {"UNIT_LINEAR_SCALE": False, "UNIT_LOG_SCALE": True, "SCALE_TYPE_UNSPECIFIED": False}
_GOALS = {"MAXIMIZE": True, "MINIMIZE": False, "GOAL_TYPE_UNSPECIFIED": None}
_CHOICES = ("categoricalValueSpec", "discreteValueSpec")
_BOUNDS = ("doubleValueSpec", "integerValueSpec")


def read_study_spec(document: Mapping[str, Any]) -> Draft:
    """Return the draft of a StudySpec, alone or inside a tuning job. Raises ValueError where it has no parameters."""
    draft = Draft("a StudySpec of Vizier")
    spec = job = Part(draft, document, spelled=_camel)
    if "studySpec" in map(_camel, document):
        spec = job.needed("studySpec")
        job.put(("name",), "displayName")
        job.put(("budget", "trials"), "maxTrialCount")
        job.put(("budget", "failures"), "maxFailedTrialCount")
        job.put(("parallel",), "parallelTrialCount")
        job.rest("no equal here: trials are fine-tuned by Luthier itself")
    parameters = spec.needed_parts("parameters")
    for number, metric in enumerate(spec.needed_parts("metrics") if "metrics" in spec else ()):
        if number:
            draft.leave(metric.path, "a study has one objective")
            continue
        maximize = metric.word("goal", _GOALS, "direction")
        key = _id(metric, "metricId")
        draft.objective(metric.at(key), metric.raw(key), maximize, metric.at("goal"))
        metric.rest()
    at = spec.at("algorithm")
    algorithm = spec.word("algorithm", _SAMPLERS, "sampler") if "algorithm" in spec else "tpe"
    draft.put(("sampler", "name"), algorithm, at)
    if (median := spec.mapping("medianAutomatedStoppingSpec")) is not None:
        draft.put(("pruner", "name"), "median", median.path)
        median.rest()
    selection = "measurementSelectionType"
    draft.put(("objective", "measurement"), spec.word(selection, _MEASUREMENTS, "measurement"), spec.at(selection))
    for parameter in parameters:
        _parameter(draft, parameter)
    spec.rest()
    return draft


def _parameter(draft: Draft, given: Part) -> None:
    name = given.text(_id(given, "parameterId"))
    key = next((key for key in (*_CHOICES, *_BOUNDS) if key in given), None)
    space = None if key is None else given.mapping(key)
    if given.raw("conditionalParameterSpecs") is not None:
        draft.leave(given.at("conditionalParameterSpecs"), "a space here has no parameters that hang on others")
    scale = given.word("scaleType", _LOG, "scale")
    if name is None or space is None:
        draft.leave(given.path, "lacks a name, or a range or values")
    elif key in _CHOICES:
        draft.choices(space.at("values"), name, space.raw("values"))
    elif scale is not None or "scaleType" not in given:
        draft.range(given.path, name, space.raw("minValue"), space.raw("maxValue"), bool(scale))
    else:
        draft.leave(given.path, NOT_TAKEN)
    if space is not None:
        space.rest()
    given.rest()


def _id(given: Part, key: str) -> str:
    """Return the key of a name: Vertex AI's, or that of the open-source service."""
    return key if key in given else "name"


def _camel(key: str) -> str:
    """Return a key as `minValue` for `min_value`."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), key)
