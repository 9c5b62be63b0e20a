"""The configurations of a finite space, counted and numbered, where a dimension may depend on another one.

A rank changes nothing in a trial without adapters: configurations that differ in nothing else are the same one. With
the strategy `probe` most dimensions change nothing. `Space` asks these functions. Only words have dimensions that
depend on them.
"""

import math
from collections.abc import Mapping

from luthier.studies.dimensions import Dimension, Range, nearest
from luthier.studies.hyperparameters import HYPERPARAMETERS, PROBE, USED_BY_PROBE, Params, Scalar, is_used

Dimensions = Mapping[str, Dimension]  # of a resolved space, by hyperparameter
SWITCHES = frozenset(h.only_with[0] for h in HYPERPARAMETERS.values() if h.only_with is not None)
"""The hyperparameters on whose choices others depend."""


def idle(dimensions: Dimensions, params: Mapping[str, Scalar]) -> set[str]:
    """Return the dimensions that change nothing in a configuration, which needs values of the searched ones only."""
    probed = params.get("strategy") == PROBE
    return {n for n in dimensions if (probed or switch(dimensions, n) is not None) and not is_used(n, params)}


def switch(dimensions: Dimensions, name: str) -> str | None:
    """Return the searched dimension without whose right choice this one changes nothing; None: it always does."""
    h = HYPERPARAMETERS.get(name)
    if h is None or h.only_with is None:
        return None
    other = h.only_with[0]
    return other if isinstance(dimensions.get(other), tuple) else None


def count(dimensions: Dimensions) -> int | None:
    """Return the number of different configurations; None where a dimension is continuous."""
    trained, probed = apart(dimensions)
    if probed is not None:
        counts = (count(trained), count(probed))
        return None if None in counts else sum(number or 0 for number in counts)
    if any(isinstance(d, Range) and not d.finite for d in dimensions.values()):
        return None
    return math.prod(_weight(dimensions, name) for name in dimensions if switch(dimensions, name) is None)


def combination(dimensions: Dimensions, index: int) -> Params:
    """Return configuration `index`, from 0, of `count`.

    The index is read as a number with a digit for each dimension, whose base is the dimension's number of values. A
    dimension that others depend on shares its digit with them: each of its choices counts as often as there are
    different values of the others with it.
    """
    trained, probed = apart(dimensions)
    if probed is not None:
        before = count(trained) or 0
        return combination(trained, index) if index < before else combination(probed, index - before)
    params: Params = {}
    for name, d in dimensions.items():
        if switch(dimensions, name) is not None:
            continue
        index, digit = divmod(index, _weight(dimensions, name))
        if name in SWITCHES and isinstance(d, tuple):
            params |= _choice(dimensions, name, digit)
        else:
            params[name] = _value(d, digit)
    return {name: params[name] for name in dimensions}


def apart(dimensions: Dimensions) -> tuple[Dimensions, Dimensions | None]:
    """Return the configurations that train, and those of the strategy `probe`, as dimensions of their own.

    Returns:
        The dimensions, and None, where a space does not have both.
    """
    d = dimensions.get("strategy")
    if not isinstance(d, tuple) or PROBE not in d or len(d) < 2:
        return dimensions, None
    trained = {**dimensions, "strategy": tuple(choice for choice in d if choice != PROBE)}
    probed = {
        name: values if name in USED_BY_PROBE else nearest(values, HYPERPARAMETERS[name].default)
        for name, values in dimensions.items()
    }
    return trained, {**probed, "strategy": (PROBE,)}


def _weight(dimensions: Dimensions, name: str) -> int:
    """Return how many different values a dimension and those that depend on it have together."""
    d = dimensions[name]
    if name not in SWITCHES or not isinstance(d, tuple):
        return _values(d)
    return sum(_further(dimensions, name, choice) for choice in d)


def _further(dimensions: Dimensions, name: str, choice: Scalar) -> int:
    """Return how many different values the dimensions that depend on another one have, for a choice of it."""
    others = [other for other in _depending(dimensions, name) if is_used(other, {name: choice})]
    return math.prod(_values(dimensions[other]) for other in others)


def _choice(dimensions: Dimensions, name: str, digit: int) -> Params:
    """Return number `digit` of the values that a dimension and those that depend on it have together."""
    d = dimensions[name]
    assert isinstance(d, tuple)
    params: Params = {}
    for choice in d:
        params[name] = choice
        if digit < (further := _further(dimensions, name, choice)):
            break
        digit -= further
    for other in _depending(dimensions, name):
        if is_used(other, params):
            digit, position = divmod(digit, _values(dimensions[other]))
            params[other] = _value(dimensions[other], position)
        else:
            params[other] = nearest(dimensions[other], HYPERPARAMETERS[other].default)
    return params


def _depending(dimensions: Dimensions, name: str) -> list[str]:
    return [other for other in dimensions if switch(dimensions, other) == name]


def _values(d: Dimension) -> int:
    return d.count if isinstance(d, Range) else len(d) if isinstance(d, tuple) else 1


def _value(d: Dimension, position: int) -> Scalar:
    return d.value(position) if isinstance(d, Range) else d[position] if isinstance(d, tuple) else d
