"""The search space of a study whose trainer is the user's own: any names, and values of any plain kind.

`spec_keys.py` makes one for `task: external`. No name means anything here, also where one of our own hyperparameters
has it: no dimension depends on another one, and none has a default but its middle.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import ValidationError, model_validator
from pydantic_core import InitErrorDetails

from luthier.studies import combinations
from luthier.studies.dimensions import Dimension, Range, describe, nearest, parse_dimension
from luthier.studies.documents import Path, error_details, refuse
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
_RANGE = {
    "type": "object",
    "properties": {
        "low": {"type": "number"},
        "high": {"type": "number"},
        "log": {"type": "boolean", "default": False},
        "step": {"type": ["number", "null"], "exclusiveMinimum": 0},
    },
    "required": ["low", "high"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "propertyNames": {"pattern": f"^{NAME}$"},
    "additionalProperties": {
        "anyOf": [_VALUE, {"type": "array", "items": _VALUE, "minItems": 1, "uniqueItems": True}, _RANGE]
    },
}
"""The JSON Schema of such a space."""


class OpenSpace(Space):
    """A space over names that the user chose. It is resolved from the start: nothing in it waits for an inspection.

    A range whose ends and step are all written as whole numbers is one of whole numbers, any other one of decimals.
    """

    vocabulary: ClassVar[Mapping[str, Hyperparameter]] = {}

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        if isinstance(raw, Space):
            return raw
        if not isinstance(raw, dict):
            raise ValueError("must map names to values, choices or ranges")
        problems: list[InitErrorDetails] = []
        parsed: dict[str, Dimension] = {}
        names: dict[str, str] = {}  # in small letters -> as written
        for name, value in raw.items():
            if not isinstance(name, str) or not re.fullmatch(NAME, name):
                problems += error_details((str(name)[:100],), NAME_RULE)
                continue
            if names.setdefault(name.lower(), name) != name:
                other = names[name.lower()]
                problems += error_details((name,), f"differs from {other} in capital letters alone: rename one of them")
                continue
            try:
                parsed[name] = _dimension(name, value)
            except ValidationError as error:
                problems += [d for e in error.errors() for d in error_details((name, *e["loc"]), e["msg"])]
            except ValueError as error:
                problems += error_details((name,), str(error))
        if not raw:
            raise ValueError("is empty: give at least one name with a range or choices")
        if len(raw) > MOST_NAMES:
            raise ValueError(f"must have at most {MOST_NAMES} names, and has {len(raw)}")
        if problems:
            raise ValidationError.from_exception_data("space", problems)
        return parsed

    def resolved(self, *depths: int, length: int | None = None) -> Self:
        """Return the space itself: it has no `auto`."""
        return self

    def baseline(self, defaults: Params) -> Params:
        """Return the middle of the space, trial 0: of a list the first choice, of a log range the geometric mean."""
        return {name: _middle(d) for name, d in self.items()}

    def size(self) -> int | None:
        """Return the number of configurations; None when it is continuous."""
        return combinations.count(self._apart())

    def configuration(self, index: int) -> Params:
        """Return configuration `index` of a finite space, from 0."""
        params = combinations.combination(self._apart(), index)
        return dict(zip(self, params.values(), strict=True))

    def key(self, params: Mapping[str, Scalar]) -> tuple[Scalar, ...]:
        """Return the values that tell a configuration from all different ones: those of the searched dimensions."""
        return tuple(params[name] for name in self.free())

    def clip(self, params: Params) -> Params:
        """Return the configuration of this space that is nearest to `params`, with a value for every dimension."""
        return {name: _closest(d, params[name]) if name in params else _middle(d) for name, d in self.items()}

    def check(self, params: Mapping[str, Any], partial: bool = False) -> Params:
        """Return a user's own configuration in the space's types; see `Space.check`. Raises ValidationError."""
        known = ", ".join(self)
        unknown = [name for name in params if name not in self.root]
        problems: list[tuple[Path, str]] = [
            (("params", name), f"is not in this study's space ({known})") for name in unknown
        ]
        checked: Params = {}
        for name, d in self.items():
            if name in params:
                value = _closest(d, params[name]) if _is_scalar(params[name]) else None
                if value is None or not _same(value, params[name]):
                    problems.append((("params", name), f"must lie in the study's space: {describe(d)}"))
                else:
                    checked[name] = value
            elif not isinstance(d, Range | tuple):
                checked[name] = d
            elif not partial:
                problems.append((("params", name), "is missing"))
        if problems:
            raise refuse("params", *problems)
        return checked

    def _apart(self) -> dict[str, Dimension]:
        """Return the dimensions under names that no hyperparameter has: so none of them depends on another one."""
        return {f"own:{name}": d for name, d in self.items()}


def _dimension(name: str, raw: Any) -> Dimension:
    """Return the dimension that `raw` describes. Raises ValidationError, ValueError."""
    if isinstance(raw, list | tuple):
        return _choices(name, raw)
    if not isinstance(raw, dict | Range):
        return _scalar(raw)
    written = raw.model_dump() if isinstance(raw, Range) else raw
    numbers = [written.get(key) for key in ("low", "high", "step") if written.get(key) is not None]
    whole = all(isinstance(number, int) for number in numbers)
    d = parse_dimension(Hyperparameter(name, "int" if whole else "float", 0, ""), raw)
    if isinstance(d, Range) and not is_finite(float(d.high) - float(d.low)):
        raise refuse(name, (("high",), "is too far from low: their difference must be a finite number"))
    return d


def _choices(name: str, raw: list[Any] | tuple[Any, ...]) -> tuple[Scalar, ...]:
    if not raw:
        raise ValueError("must name at least one choice")
    choices: dict[Scalar, None] = {}
    for i, item in enumerate(raw):
        try:
            value = _scalar(item)
        except ValueError as error:
            raise refuse(name, ((i,), str(error))) from None
        if value in choices:  # also 1, 1.0 and true, which samplers cannot tell apart
            raise refuse(name, ((i,), f"{json.dumps(value)} is listed twice (1, 1.0 and true are the same)"))
        choices[value] = None
    return tuple(choices)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, bool | int | float) and is_finite(value))


def _scalar(value: Any) -> Scalar:
    """Return a plain value as it is. Raises ValueError for any other."""
    if not _is_scalar(value):
        raise ValueError(VALUE_RULE)
    if isinstance(value, str) and (len(value) > LONGEST_CHOICE or "\0" in value):
        raise ValueError(f"must have at most {LONGEST_CHOICE} characters, and no NUL among them")
    return value  # type: ignore[no-any-return]


def _middle(d: Dimension) -> Scalar:
    """Return the middle of a dimension: of a list the first choice."""
    if not isinstance(d, Range):
        return d[0] if isinstance(d, tuple) else d
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
