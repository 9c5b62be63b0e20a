"""The space a study spans over its hyperparameters.

A dimension is written as a value (fixed), a list of choices, or ``{low, high, log, step}``.
Every wrong value is refused with its path, as in ``space.learning_rate.low``.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, RootModel, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from luthier.studies.hyperparameters import AUTO, HYPERPARAMETERS, Hyperparameter, Params, Scalar, is_finite

Path = tuple[str | int, ...]


def _details(path: Path, text: str) -> list[InitErrorDetails]:
    return [InitErrorDetails(type=PydanticCustomError("value", "{text}", {"text": text}), loc=path, input=None)]


def refuse(title: str, *problems: tuple[Path, str]) -> ValidationError:
    """A ValidationError whose problems are (path, what would be right); it nests under the caller's path."""
    return ValidationError.from_exception_data(title, [d for path, text in problems for d in _details(path, text)])


class Range(BaseModel):
    """An interval, both ends included. `log` draws uniformly in the logarithm; `step` makes it a lattice."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    low: int | float
    high: int | float | Literal["auto"]
    log: bool = False
    step: int | float | None = None

    @property
    def finite(self) -> bool:
        return self.step is not None or isinstance(self.low, int) or self.low == self.high

    @property
    def count(self) -> int:
        """How many values a finite range holds."""
        if isinstance(self.high, str) or not self.finite:
            raise ValueError("a continuous range has no list of values")
        return math.floor((self.high - self.low) / (self.step or 1) + 1e-9) + 1

    def value(self, i: int) -> int | float:
        """Value `i` of a finite range, ascending. Decimal steps give the decimals a person would write: 0.3 is the
        third value of 0.1, 0.2, ..., not 0.30000000000000004."""
        value = self.low + i * (self.step or 1)
        return float(f"{value:.15g}") if i and isinstance(value, float) else value

    def values(self) -> list[int | float]:
        """Every value of a finite range, ascending."""
        return [self.value(i) for i in range(self.count)]


Dimension = Range | tuple[Scalar, ...] | Scalar


def _range(h: Hyperparameter, raw: dict[str, Any]) -> Range:
    problems: list[tuple[Path, str]] = [
        ((str(key),), "unknown key; a range has low, high, log, step") for key in raw.keys() - set(Range.model_fields)
    ]
    problems += [((key,), "is missing") for key in ("low", "high") if key not in raw]
    ends: dict[str, Any] = {}
    for key in ("low", "high"):
        if key in raw:
            try:
                ends[key] = h.check(raw[key])
            except ValueError as error:
                problems.append(((key,), str(error)))
    log, step = raw.get("log", False), raw.get("step")
    if not isinstance(log, bool):
        problems.append((("log",), "must be true or false"))
    if step is not None:
        if isinstance(step, bool) or not isinstance(step, int | float) or not is_finite(step) or step <= 0:
            problems.append((("step",), "must be a finite number above 0"))
        elif log is True:
            problems.append((("step",), "cannot be combined with log: true; leave one of them out"))
        elif h.kind == "int" and step != int(step):
            problems.append((("step",), "must be a whole number"))
    if not problems:
        if ends["low"] == AUTO:
            problems.append((("low",), "must be a number; only high may be auto"))
        elif ends["high"] != AUTO and ends["low"] > ends["high"]:
            problems.append((("low",), f"must be at most high ({ends['high']})"))
        elif log and ends["low"] <= 0:
            problems.append((("low",), "must be above 0 when log is true"))
    if problems:
        raise refuse(h.name, *problems)
    if step is not None:
        step = int(step) if h.kind == "int" else float(step)
    return Range(low=ends["low"], high=ends["high"], log=log, step=step)


def dimension(h: Hyperparameter, raw: Any) -> Dimension:
    """Parse one dimension; raise pydantic's ValidationError with the path inside it, or ValueError."""
    if isinstance(raw, Range):
        raw = raw.model_dump()
    if isinstance(raw, dict):
        if h.kind == "choice":
            raise ValueError(f"must be one of, or a list of, {', '.join(h.choices)}; a range needs numbers")
        return _range(h, raw)
    if isinstance(raw, list | tuple):
        if not raw:
            raise ValueError("must name at least one choice")
        choices: list[Scalar] = []
        for i, item in enumerate(raw):
            try:
                value = h.check(item)
            except ValueError as error:
                raise refuse(h.name, ((i,), str(error))) from None
            if value in choices:
                raise refuse(h.name, ((i,), f"{value} is listed twice"))
            choices.append(value)
        return tuple(choices)
    return h.check(raw)


class Space(RootModel[dict[str, Dimension]]):
    """Hyperparameter name -> dimension, in the order of HYPERPARAMETERS."""

    model_config = ConfigDict(frozen=True)
    known: ClassVar[Mapping[str, Hyperparameter]] = HYPERPARAMETERS

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        if isinstance(raw, Space):
            return raw
        if not isinstance(raw, dict):
            raise ValueError("must map hyperparameters to values, choices or ranges")
        problems: list[InitErrorDetails] = []
        parsed: dict[str, Dimension] = {}
        for name in sorted(map(str, raw), key=_order):
            if name not in cls.known:
                problems += _details((name,), f"unknown hyperparameter; known are {', '.join(cls.known)}")
                continue
            try:
                parsed[name] = dimension(cls.known[name], raw[name])
            except ValidationError as error:
                problems += [d for e in error.errors() for d in _details((name, *e["loc"]), e["msg"])]
            except ValueError as error:
                problems += _details((name,), str(error))
        if problems:
            raise ValidationError.from_exception_data("space", problems)
        return parsed

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: h.json_schema() for name, h in HYPERPARAMETERS.items()},
        }

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.root)

    def __getitem__(self, name: str) -> Dimension:
        return self.root[name]

    def items(self) -> Iterator[tuple[str, Dimension]]:
        return iter(self.root.items())

    def free(self) -> dict[str, Range | tuple[Scalar, ...]]:
        """The dimensions that are searched: ranges and choices, also those with a single value."""
        return {name: d for name, d in self.root.items() if isinstance(d, Range | tuple)}

    def resolved(self, *depths: int) -> Self:
        """The space with freeze_depth's `auto` replaced by the block count of the study's model.

        Raises ValidationError when a freeze depth is deeper than the model.
        """
        name, (blocks,) = "freeze_depth", depths
        if name not in self.root:
            return self
        d = self.root[name]
        deepest = f"the model has {blocks} blocks, so at most {blocks}"

        def settle(value: Any) -> int:
            return blocks if value == AUTO else int(value)

        if isinstance(d, Range):
            if settle(d.high) > blocks:
                raise refuse("space", (("space", name, "high"), deepest))
            if d.low > blocks:
                raise refuse("space", (("space", name, "low"), deepest))
            new: Dimension = d.model_copy(update={"high": settle(d.high)})
        elif isinstance(d, tuple):
            for i, choice in enumerate(d):
                if settle(choice) > blocks:
                    raise refuse("space", (("space", name, i), deepest))
            new = tuple(dict.fromkeys(settle(choice) for choice in d))
        else:
            new = settle(d)
            if new > blocks:
                raise refuse("space", (("space", name), deepest))
        return type(self)({**self.root, name: new})

    def size(self) -> int | None:
        """How many configurations a finite space holds; None when a dimension is continuous. Resolved spaces only."""
        total = 1  # configurations with the same `key` count once
        for d in self.free().values():
            if isinstance(d, Range):
                if not d.finite:
                    return None
                total *= d.count
            else:
                total *= len(d)
        return total

    def largest(self, name: str) -> Scalar:
        """The greatest value a hyperparameter can take in this space."""
        d = self.root.get(name, HYPERPARAMETERS[name].default)
        if isinstance(d, Range):
            return d.high
        return max(d, key=float) if isinstance(d, tuple) else d

    def offers(self, name: str, choice: str) -> bool:
        """Whether a hyperparameter of words can be `choice` in this space."""
        d = self.root.get(name, HYPERPARAMETERS[name].default)
        return choice in d if isinstance(d, tuple) else choice == d

    def least(self, name: str) -> Scalar:
        """The smallest value a hyperparameter can take in this space, which holds it. Resolved spaces only."""
        d = self.root[name]
        if isinstance(d, Range):
            return d.low
        return min(d, key=float) if isinstance(d, tuple) else d

    def clip(self, wanted: Params) -> Params:
        """`wanted` moved into the space: a fixed value wins, a number goes to the nearest value, a choice that is
        not offered becomes the nearest (numbers) or the first one. Every dimension of the space is present."""
        return {name: nearest(d, wanted.get(name, self._knob(name).default)) for name, d in self.items()}

    def key(self, params: Mapping[str, Scalar]) -> tuple[Scalar, ...]:
        """What tells a configuration from others: its values of the searched dimensions."""
        return tuple(params[name] for name in self.free())

    def configuration(self, index: int) -> Params:
        """Configuration `index` of a finite space: the digits of the index, a dimension a digit."""
        params: Params = {}
        for name, d in self.items():
            if isinstance(d, Range):
                index, digit = divmod(index, d.count)
                params[name] = d.value(digit)
            elif isinstance(d, tuple):
                index, digit = divmod(index, len(d))
                params[name] = d[digit]
            else:
                params[name] = d
        return params

    def assigned(self, params: Params) -> Params:
        """A complete configuration as a worker gets it."""
        return params

    def _knob(self, name: str) -> Hyperparameter:
        return self.known[name]

    def check(self, params: Mapping[str, Any]) -> Params:
        """Validate a user's own configuration; fixed dimensions may be left out. Raises ValidationError."""
        problems: list[tuple[Path, str]] = []
        checked: Params = {}
        for name in params:
            if name not in self.root:
                problems.append((("params", name), f"is not in this study's space ({', '.join(self)})"))
        for name, d in self.items():
            if name not in params:
                if isinstance(d, Range | tuple):
                    problems.append((("params", name), "is missing"))
                else:
                    checked[name] = d
                continue
            try:
                value = self._knob(name).check(params[name])
            except ValueError as error:
                problems.append((("params", name), str(error)))
                continue
            closest = nearest(d, value)
            if closest != value and (isinstance(value, str) or not math.isclose(float(closest), value, rel_tol=1e-12)):
                problems.append((("params", name), f"must lie in the study's space: {_describe(d)}"))
            checked[name] = closest
        if problems:
            raise refuse("params", *problems)
        return checked


def _order(name: str) -> tuple[int, str]:
    names = list(HYPERPARAMETERS)
    return (names.index(name) if name in names else len(names), name)


def nearest(d: Dimension, value: Scalar) -> Scalar:
    """The dimension's value closest to `value`: the lower of two, the first choice for a word that is none."""
    if isinstance(d, Range):
        if d.finite:
            position = math.ceil((float(value) - d.low) / (d.step or 1) - 0.5)  # between two, the lower
            return d.value(min(max(position, 0), d.count - 1))
        assert not isinstance(d.high, str)
        return min(max(float(value), float(d.low)), float(d.high))
    if isinstance(d, tuple):
        if value in d:
            return value
        return d[0] if isinstance(value, str) else min(d, key=lambda v: abs(float(v) - float(value)))
    return d


def _describe(d: Dimension) -> str:
    if isinstance(d, Range):
        return f"{d.low} to {d.high}" + (f" in steps of {d.step}" if d.step else "")
    return f"one of {', '.join(map(str, d))}" if isinstance(d, tuple) else f"{d} (fixed)"
