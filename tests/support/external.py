"""Studies whose trainer is the user's own, for tests: a spec, its document, and a trainer by formula."""

import json
import math
from typing import Any

from luthier.studies.spec import StudySpec, parse_spec
from tests.support.specs import MISSING

SPACE: dict[str, Any] = {
    "lr": {"low": 1e-5, "high": 0.1, "log": True},
    "depth": {"low": 1, "high": 9, "step": 2},
    "momentum": {"low": 0.0, "high": 0.9, "step": 0.3},
    "activation": ["relu", "gelu"],
    "nesterov": [True, False],
    "lora_rank": [4, 8],  # a name of ours, which means nothing here
    "strategy": ["full", "lora"],
    "layers": 3,
}
DOCUMENT: dict[str, Any] = {
    "name": "tuning",
    "task": "external",
    "objective": {"metric": "score", "direction": "maximize"},
    "space": SPACE,
    "pruner": {"name": "none"},
    "budget": {"trials": 3},
    "parallel": 2,
}


def document(**changes: Any) -> dict[str, Any]:
    """Return DOCUMENT with top-level keys replaced, or taken out."""
    return {key: value for key, value in (DOCUMENT | changes).items() if value is not MISSING}


def spec(**changes: Any) -> StudySpec:
    """Return such a spec, as a user's text is parsed."""
    return parse_spec(json.dumps(document(**changes)))


def score(params: dict[str, Any], step: int = 1) -> float:
    """Return the score of the "training": best at a learning rate of 1e-3, and a little better at every step."""
    return 0.5 - 0.05 * abs(math.log10(float(params["lr"])) + 3) + 0.01 * step
