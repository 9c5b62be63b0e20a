"""The search space of a study whose trainer is the user's own: any names, and values of any plain kind.

`spec_keys.py` makes one for `task: external`. No name means anything here, also where one of our own hyperparameters
has it: no dimension depends on another one, and none has a default but its middle.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import model_validator

from luthier.studies import combinations
from luthier.studies.dimension_schemas import range_schema
from luthier.studies.dimensions import (
    Dimension,
    Range,
    describe,
    nearest,
    parse_choices,
    parse_dimension,
    parse_dimensions,
)
from luthier.studies.documents import refuse
from luthier.studies.hyperparameters import Hyperparameter, Params, Scalar, is_finite
from luthier.studies.space import EQUAL, Space

NAME = r"[A-Za-z_][A-Za-z0-9_./-]{0,63}"
MOST_NAMES = 200  # more would make each draw take seconds
LONGEST_CHOICE = 500  # characters; each trial stores all choices
NAME_RULE = (
    "a name is a letter or _, then letters, digits and _ . / - (64 characters at most), as learning_rate: rename it"
)
VALUE_RULE = 'must be a number, true, false or a word; for none write "none", and for a list a word that names it'
_VALUE = {"type": ["boolean", "number", "string"]}
_CHOICES = {"type": "array", "items": _VALUE, "minItems": 1, "uniqueItems": True}
SCHEMA = {
    "type": "object",
    "propertyNames": {"pattern": f"^{NAME}$"},
    "additionalProperties": {"anyOf": [_VALUE, _CHOICES, range_schema({"type": "number"})]},
}
"""The JSON Schema of such a space."""


class OpenSpace(Space):
    """A space over names that the user chose. It is resolved from the start: nothing in it waits for an inspection.

    A range whose ends, step and prior are all whole numbers is one of whole numbers, any other one of decimals.
    """

    vocabulary: ClassVar[Mapping[str, Hyperparameter]] = {}

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        if isinstance(raw, Space):
            return raw
        if not isinstance(raw, dict):
            raise ValueError("must map names to values, choices or ranges")
        if not raw:
            raise ValueError("is empty: give at least one name with a range or choices")
        if len(raw) > MOST_NAMES:
            raise ValueError(f"must have at most {MOST_NAMES} names, and has {len(raw)}")
        names: dict[str, str] = {}  # in small letters -> as written

        def parse(name: Any, value: Any) -> Dimension:
            if not isinstance(name, str) or not re.fullmatch(NAME, name):
                raise ValueError(NAME_RULE)
            if names.setdefault(name.lower(), name) != name:
                raise ValueError(f"differs from {names[name.lower()]} in capital letters alone: rename one of them")
            return _dimension(name, value)

        return parse_dimensions(raw.items(), parse)

    def resolved(self, *depths: int, length: int | None = None) -> Self:
        """Return the space itself: it has no `auto`."""
        return self

    def baseline(self, defaults: Params) -> Params:
        """Return trial 0: priors, else of a list the first choice, of a range its (logarithmic) middle."""
        return {name: _middle(d) for name, d in self.items()}

    def size(self) -> int | None:
        """Return the number of configurations; None when it is continuous."""
        return combinations.count(self._apart())

    def configuration(self, index: int) -> Params:
        """Return configuration `index` of a finite space, from 0."""
        params = combinations.combination(self._apart(), index)
        return dict(zip(self, params.values(), strict=True))

    def clip(self, params: Params) -> Params:
        """Return the configuration of this space that is nearest to `params`, with a value for every dimension."""
        return {name: _closest(d, params[name]) if name in params else _middle(d) for name, d in self.items()}

    def _given(self, name: str, value: Any) -> Scalar:
        """Return the value that a user gives a dimension, in the space's types. Raises ValueError."""
        d = self[name]
        closest = _closest(d, value) if _is_scalar(value) else None
        if closest is None or not _same(closest, value):
            raise ValueError(f"must lie in the study's space: {describe(d)}")
        return closest

    def _idle(self, params: Mapping[str, Any]) -> set[str]:
        """Return no dimension: each changes something in every configuration."""
        return set()

    def _apart(self) -> dict[str, Dimension]:
        """Return the dimensions under names that no hyperparameter has: so none of them depends on another one."""
        return {f"own:{name}": d for name, d in self.items()}


def _dimension(name: str, raw: Any) -> Dimension:
    """Return the dimension that `raw` describes. Raises ValidationError, ValueError."""
    if isinstance(raw, list | tuple):
        return parse_choices(name, raw, _scalar, _twice)
    if not isinstance(raw, dict | Range):
        return _scalar(raw)
    written = raw.model_dump() if isinstance(raw, Range) else raw
    numbers = [written.get(key) for key in ("low", "high", "step", "prior") if written.get(key) is not None]
    whole = all(isinstance(number, int) for number in numbers)
    d = parse_dimension(Hyperparameter(name, "int" if whole else "float", 0, ""), raw)
    if isinstance(d, Range) and not is_finite(float(d.high) - float(d.low)):
        raise refuse(name, (("high",), "is too far from low: their difference must be a finite number"))
    return d


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, bool | int | float) and is_finite(value))


def _scalar(value: Any) -> Scalar:
    """Return a plain value as it is. Raises ValueError for any other."""
    if not _is_scalar(value):
        raise ValueError(VALUE_RULE)
    if isinstance(value, str) and (len(value) > LONGEST_CHOICE or "\0" in value):
        raise ValueError(f"must have at most {LONGEST_CHOICE} characters, and no NUL among them")
    return value  # type: ignore[no-any-return]


def _twice(value: Scalar) -> str:
    """Return what is wrong with a choice that is listed twice; samplers cannot tell 1, 1.0 and true apart."""
    return f"{json.dumps(value)} is listed twice (1, 1.0 and true are the same)"


def _middle(d: Dimension) -> Scalar:
    """Return the middle of a dimension: its prior, or of a list the first choice."""
    if not isinstance(d, Range):
        return d[0] if isinstance(d, tuple) else d
    if d.prior is not None:
        return nearest(d, d.prior)
    low, high = float(d.low), float(d.high)
    return nearest(d, math.sqrt(low) * math.sqrt(high) if d.log else low + (high - low) / 2)


def _closest(d: Dimension, value: Scalar) -> Scalar:
    """Return the dimension's value that is closest to `value`; of choices that it is not among, the first."""
    if isinstance(d, tuple):
        return next((choice for choice in d if _same(choice, value)), d[0])
    if isinstance(d, Range):
        return _middle(d) if isinstance(value, str | bool) else nearest(d, value)
    return d


def _same(a: Scalar, b: Scalar) -> bool:
    """Return whether two values are the same one, perhaps written with other decimals; no word and no bool is 1."""
    if any(isinstance(value, str | bool) for value in (a, b)):
        return type(a) is type(b) and a == b
    return math.isclose(float(a), float(b), rel_tol=EQUAL)
