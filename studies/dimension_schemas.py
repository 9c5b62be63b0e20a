"""The JSON Schemas of a search space's dimensions, for editors and for the reference.

`space.py` and `open_space.py` put them into the schema of a spec.
"""

import math
from typing import Any

from luthier.studies.hyperparameters import AUTO, LONGEST_TEXT, Hyperparameter

PRIOR_ABOUT = "The value that you believe in: the baseline has it, and early trials are drawn near it more often."


def dimension_schema(h: Hyperparameter) -> dict[str, Any]:
    """Return the JSON Schema of a dimension over a hyperparameter."""
    value = _value_schema(h)
    forms = [value, {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}]
    if not h.has_words:
        forms.append(range_schema(value))
    return {"anyOf": forms, "description": f"{h.about} Default: {h.shown_default}."}


def _value_schema(h: Hyperparameter) -> dict[str, Any]:
    """Return the JSON Schema of a hyperparameter's value."""
    if h.kind == "choice":
        return {"enum": [*h.choices, *(float(word) for word in h.choices if word[0].isdigit())]}
    if h.kind == "text":
        return {"type": "string", "maxLength": LONGEST_TEXT, "pattern": h.pattern}
    whole = h.kind == "int" and h.name != "freeze_depth"  # that may be a fraction of a depth
    value: dict[str, Any] = {"type": "integer" if whole else "number"}
    if h.low > -math.inf:
        value["exclusiveMinimum" if h.above_low else "minimum"] = h.low
    if h.high < math.inf:
        value["maximum"] = h.high
    return {"anyOf": [value, {"const": AUTO}]} if h.auto else value


def range_schema(value: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a range.

    Args:
        value: The schema of its ends.
    """
    step = {"type": ["number", "null"], "exclusiveMinimum": 0}
    return {
        "type": "object",
        "properties": {
            "low": value,
            "high": value,
            "log": {"type": "boolean", "default": False},
            "step": step,
            "prior": {"type": ["number", "null"], "description": PRIOR_ABOUT},
        },
        "required": ["low", "high"],
        "additionalProperties": False,
    }
