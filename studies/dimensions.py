"""The dimensions of a search space: a fixed value, a list of choices, or a range.

`space.py` puts dimensions together. Every wrong value is refused with its path within the dimension.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails

from luthier.studies.documents import Path, error_details, refuse
from luthier.studies.hyperparameters import AUTO, Hyperparameter, Scalar, is_finite

LONGEST_KEY = 100  # characters of a wrong name that are shown
TOLERANCE = 1e-9  # of a step: sums of decimal steps miss the lattice by less


class Range(BaseModel):
    """An interval, both ends included. `log` draws uniformly in the logarithm; `step` makes it a lattice.

    Near `prior`, the value that its user believes in, the search looks more often at first (`search/priors.py`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    low: int | float
    high: int | float | Literal["auto"]
    log: bool = False
    step: int | float | None = None
    # Written only where there is one; so spaces from before there were priors are written as they were.
    prior: int | float | None = Field(None, exclude_if=lambda prior: prior is None)

    @property
    def finite(self) -> bool:
        """True if its values can be listed."""
        return self.step is not None or isinstance(self.low, int) or self.low == self.high

    @property
    def count(self) -> int:
        """Number of values of a finite range. Raises ValueError for a continuous one."""
        if isinstance(self.high, str) or not self.finite:
            raise ValueError("a continuous range has no list of values")
        return math.floor((self.high - self.low) / (self.step or 1) + TOLERANCE) + 1

    def value(self, i: int) -> int | float:
        """Return value `i` of a finite range, ascending.

        Decimal steps give the decimals that a person would write: the third value of 0.1, 0.2, ... is 0.3, not
        0.30000000000000004.
        """
        value = self.low + i * (self.step or 1)
        return float(f"{value:.15g}") if i and isinstance(value, float) else value

    def values(self) -> list[int | float]:
        """Return every value of a finite range, ascending."""
        return [self.value(i) for i in range(self.count)]


Choices = tuple[Scalar, ...]
Dimension = Range | Choices | Scalar


def parse_dimension(h: Hyperparameter, raw: Any) -> Dimension:
    """Return the dimension that `raw` describes for a hyperparameter.

    Raises:
        ValidationError: With the path inside the dimension.
        ValueError: When the dimension as a whole is wrong.
    """
    if isinstance(raw, Range):
        raw = raw.model_dump()
    if isinstance(raw, dict):
        if h.has_words:
            raise ValueError(f"must be one of, or a list of, {', '.join(h.choices)}; a range needs numbers")
        return _parse_range(h, raw)
    return parse_choices(h.name, raw, h.check) if isinstance(raw, list | tuple) else h.check(raw)


def parse_dimensions(raw: Iterable[tuple[Any, Any]], parse: Callable[[Any, Any], Dimension]) -> dict[str, Dimension]:
    """Return the dimensions that `parse` makes of pairs of name and value, or refuse all wrong ones at once.

    Args:
        raw: What a user wrote, in the order that the space will have.
        parse: Returns a dimension. It raises ValidationError with paths inside of it, or ValueError.

    Raises:
        ValidationError: With the path of each wrong value.
    """
    problems: list[InitErrorDetails] = []
    parsed: dict[str, Dimension] = {}
    for name, value in raw:
        key = str(name)[:LONGEST_KEY]
        try:
            parsed[name] = parse(name, value)
        except ValidationError as error:
            problems += [detail for e in error.errors() for detail in error_details((key, *e["loc"]), e["msg"])]
        except ValueError as error:
            problems += error_details((key,), str(error))
    if problems:
        raise ValidationError.from_exception_data("space", problems)
    return parsed


def parse_choices(
    name: str,
    raw: Sequence[Any],
    check: Callable[[Any], Scalar],
    twice: Callable[[Scalar], str] = "{} is listed twice".format,
) -> Choices:
    """Return the choices that a list describes.

    Args:
        name: The hyperparameter's.
        raw: The list.
        check: Returns an item in the right type. It raises ValueError.
        twice: Returns the message for a choice that is listed twice.

    Raises:
        ValidationError: With the position of the first wrong item.
        ValueError: The list is empty.
    """
    if not raw:
        raise ValueError("must name at least one choice")
    choices: dict[Scalar, None] = {}  # in their order, and found at once
    for i, item in enumerate(raw):
        try:
            value = check(item)
        except ValueError as error:
            raise refuse(name, ((i,), str(error))) from None
        if value in choices:
            raise refuse(name, ((i,), twice(value)))
        choices[value] = None
    return tuple(choices)


def _parse_range(h: Hyperparameter, raw: dict[str, Any]) -> Range:
    """Return the range that a mapping describes, in the hyperparameter's type.

    Example: for batch_size, a whole number from 1 on, {"low": 8, "high": 32.0, "step": 8} becomes
    Range(low=8, high=32, step=8). {"low": 64, "high": 32, "size": 8} is refused at `size`, an unknown key; without
    that key at `low`, which must be at most high (32). Keys are judged before ends are compared with each other.

    Raises:
        ValidationError: With the path of each wrong key.
    """
    problems: list[tuple[Path, str]] = [
        ((str(key),), "unknown key; a range has low, high, log, step, prior")
        for key in raw.keys() - set(Range.model_fields)
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
    step_problem = None if step is None else _step_problem(h, step, log)
    if step_problem:
        problems.append((("step",), step_problem))
    if not problems:
        low_problem = _low_problem(ends["low"], ends["high"], log)
        problems += [(("low",), low_problem)] if low_problem else []
    prior, prior_problem = _prior(h, raw.get("prior"), *([] if problems else ends.values()))
    if prior_problem:
        problems.append((("prior",), prior_problem))
    if problems:
        raise refuse(h.name, *problems)
    if step is not None:
        step = int(step) if h.kind == "int" else float(step)
    return Range(low=ends["low"], high=ends["high"], log=log, step=step, prior=prior)


def _prior(h: Hyperparameter, raw: Any, low: Any = -math.inf, high: Any = math.inf) -> tuple[Any, str | None]:
    """Return a range's prior in the hyperparameter's type, None without one; and what is wrong with it, or None."""
    if raw is None:
        return None, None
    try:
        prior = h.check(raw)
    except ValueError as error:
        return None, str(error)
    if prior == AUTO:
        return None, "must be a number; only high may be auto"
    if low <= prior and (high == AUTO or prior <= high):
        return prior, None
    return None, f"must lie in the range, from {low} to {high}: move it, or widen the range"


def _step_problem(h: Hyperparameter, step: Any, log: Any) -> str | None:
    """Return why a range cannot have this step, or None."""
    if isinstance(step, bool) or not isinstance(step, int | float) or not is_finite(step) or step <= 0:
        return "must be a finite number above 0"
    if log is True:
        return "cannot be combined with log: true; leave one of them out"
    return "must be a whole number" if h.kind == "int" and step != int(step) else None


def _low_problem(low: Any, high: Any, log: bool) -> str | None:
    """Return why the lower end does not suit the upper one, or None. Both are in their type, or auto."""
    if low == AUTO:
        return "must be a number; only high may be auto"
    if high != AUTO and low > high:
        return f"must be at most high ({high})"
    return "must be above 0 when log is true" if log and low <= 0 else None


def nearest(d: Dimension, value: Scalar) -> Scalar:
    """Return the dimension's value that is closest to `value`.

    Of two numbers equally close the lower one; for a word that is not offered, the first choice.
    """
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


def describe(d: Dimension) -> str:
    """Return a dimension in words, as "1 to 9 in steps of 2"."""
    if isinstance(d, Range):
        return f"{d.low} to {d.high}" + (f" in steps of {d.step}" if d.step else "")
    return f"one of {', '.join(map(str, d))}" if isinstance(d, tuple) else f"{d} (fixed)"
