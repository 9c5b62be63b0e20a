"""The search space of a study: a dimension for each of its hyperparameters.

The service, the workers and the search use it to list, check and complete configurations. A dimension is written as a
value (fixed), a list of choices, or ``{low, high, log, step, prior}``; a wrong one is refused with its path.
"""

import math
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, GetJsonSchemaHandler, PrivateAttr, RootModel, model_validator

from luthier.studies import combinations
from luthier.studies.auto import with_depth, with_length
from luthier.studies.dimension_schemas import dimension_schema
from luthier.studies.dimensions import (
    Choices,
    Dimension,
    Range,
    describe,
    nearest,
    parse_dimension,
    parse_dimensions,
)
from luthier.studies.documents import Path, refuse
from luthier.studies.hyperparameters import (
    AUTO,
    HYPERPARAMETERS,
    PROBE,
    USED_BY_PROBE,
    Hyperparameter,
    Params,
    Scalar,
    complete,
)

EQUAL = 1e-12  # relative difference below which two numbers are the same one, written with other decimals


class Space(RootModel[dict[str, Dimension]]):
    """Hyperparameter name -> dimension, in the order of HYPERPARAMETERS.

    A space is resolved once numbers have taken the place of `auto`: the model's blocks, and the length of the inputs.
    Methods that count or list configurations need a resolved one.
    """

    model_config = ConfigDict(frozen=True)
    vocabulary: ClassVar[Mapping[str, Hyperparameter]] = HYPERPARAMETERS  # those that a space may name
    _length: int | None = PrivateAttr(None)  # what max_length: auto stands for; None before `resolved`, and without one

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        if isinstance(raw, Space):
            return raw
        if not isinstance(raw, dict):
            raise ValueError("must map hyperparameters to values, choices or ranges")
        return parse_dimensions(((name, raw.get(name)) for name in sorted(map(str, raw), key=_order)), cls._dimension)

    @classmethod
    def _dimension(cls, name: str, raw: Any) -> Dimension:
        """Return the dimension of a hyperparameter. Raises ValidationError, ValueError."""
        if name not in cls.vocabulary:
            near = get_close_matches(name, cls.vocabulary, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"unknown hyperparameter; known are {', '.join(cls.vocabulary)}{meant}")
        return parse_dimension(cls.vocabulary[name], raw)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON Schema of a space over one model."""
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: dimension_schema(h) for name, h in HYPERPARAMETERS.items()},
        }

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        """Iterate over the names of the hyperparameters."""
        return iter(self.root)

    def __getitem__(self, name: str) -> Dimension:
        """Return a hyperparameter's dimension. Raises KeyError."""
        return self.root[name]

    def items(self) -> Iterator[tuple[str, Dimension]]:
        """Iterate over pairs of name and dimension."""
        return iter(self.root.items())

    def free(self) -> dict[str, Range | Choices]:
        """Return the dimensions that are searched: ranges and choices, also those with a single value."""
        return {name: d for name, d in self.root.items() if isinstance(d, Range | tuple)}

    def endless(self) -> list[str]:
        """Return the searched dimensions whose values cannot be counted, also once `auto` is a number."""
        return [name for name, d in self.free().items() if isinstance(d, Range) and not d.finite]

    def resolved(self, *depths: int, length: int | None = None) -> Self:
        """Return the space with numbers in place of `auto`.

        Args:
            depths: The number of blocks of the study's model; for a space over several models, of each in order.
            length: What `max_length: auto` stands for. A space that leaves max_length out gets it as a fixed value.
                None: max_length keeps the default of the oldest semantics.

        Raises:
            ValidationError: When a freeze depth is deeper than the model.
        """
        name, (blocks,) = "freeze_depth", depths
        root = with_length(self.root, length)
        if name in root:
            root[name] = with_depth(root[name], blocks, ("space", name))
        return type(self)(root).of_length(length)

    def of_length(self, length: int | None) -> Self:
        """Return this new space, for which `max_length: auto` stands for `length`; None: for nothing."""
        self._length = length
        return self

    def baseline(self, defaults: Params) -> Params:
        """Return trial 0 of a study: the priors of this resolved space, else what is nearest to a task's baseline."""
        return self.with_baseline({}, defaults)

    def with_baseline(self, params: Params, defaults: Params) -> Params:
        """Return a configuration of this resolved space with the baseline's value where `params` has none."""
        length: Params = {} if self._length is None else {"max_length": self._length}
        return self.clip(complete(params, defaults | length | self.priors()))

    def priors(self) -> Params:
        """Return the values that a user believes in, by hyperparameter."""
        return {name: d.prior for name, d in self.root.items() if isinstance(d, Range) and d.prior is not None}

    def size(self) -> int | None:
        """Return the number of configurations of a resolved space with different keys; None when it is continuous."""
        return combinations.count(self.root)

    def largest(self, name: str) -> Scalar:
        """Return the greatest value of a hyperparameter of numbers: in this space, or its default outside of it."""
        d = self.root.get(name, HYPERPARAMETERS[name].default)
        if isinstance(d, Range):
            return d.high
        return max(d, key=float) if isinstance(d, tuple) else d

    def least(self, name: str) -> Scalar:
        """Return the smallest value of a hyperparameter of numbers that this resolved space holds. Raises KeyError."""
        d = self.root[name]
        if isinstance(d, Range):
            return d.low
        return min(d, key=float) if isinstance(d, tuple) else d

    def offers(self, name: str, choice: str) -> bool:
        """Return whether a hyperparameter of words can be `choice` in this space."""
        d = self.root.get(name, HYPERPARAMETERS[name].default)
        return choice in d if isinstance(d, tuple) else choice == d

    def idle_problems(self) -> Iterator[tuple[str, str]]:
        """Yield each hyperparameter that changes nothing in any configuration of this space, with the cure."""
        strategy = self.root.get("strategy")
        probes = strategy in (PROBE, (PROBE,))
        for name in self:
            if probes and name not in USED_BY_PROBE and name in HYPERPARAMETERS:
                yield name, f"changes nothing with strategy: {PROBE} alone: add another strategy, or leave it out"
                continue
            needed = self.knob(name).only_with
            if needed is not None and not self.offers(*needed):
                other, choice = needed
                yield name, f"changes nothing unless {other} can be {choice}: add {other}: {choice}, or leave it out"

    def clip(self, params: Params) -> Params:
        """Return the configuration of this space that is nearest to `params`, with a value for every dimension.

        A fixed value wins, and a number goes to the nearest value. A choice that is not offered becomes the nearest
        one (numbers) or the first one (words).
        """
        return {name: nearest(d, params.get(name, self.knob(name).default)) for name, d in self.items()}

    def key(self, params: Mapping[str, Scalar]) -> tuple[Scalar, ...]:
        """Return the values that tell a configuration from all different ones: those of the searched dimensions.

        Whatever was drawn for a hyperparameter that changes nothing in the configuration, it counts as its default.
        """
        idle = self._idle(params)
        return tuple(HYPERPARAMETERS[name].default if name in idle else params[name] for name in self.free())

    def configuration(self, index: int) -> Params:
        """Return configuration `index` of a finite resolved space, from 0."""
        return combinations.combination(self.root, index)

    def assigned(self, params: Params) -> Params:
        """Return a complete configuration in the form that a worker gets: freeze_depth is a number of blocks."""
        return params

    def check(self, params: Mapping[str, Any], partial: bool = False) -> Params:
        """Return a user's own configuration in the space's types.

        Fixed dimensions may be left out, and those that change nothing in the configuration.

        Args:
            params: hyperparameter -> value.
            partial: Leave out, too, the searched dimensions that `params` lacks, instead of refusing that. What depends
                on one of those is left out with it: whether it changes anything is not known yet.

        Raises:
            ValidationError: With the path of each wrong, missing or unknown value.
        """
        known, idle = ", ".join(self), self._idle(params)
        problems: list[tuple[Path, str]] = [
            (("params", name), f"is not in this study's space ({known})") for name in params if name not in self.root
        ]
        checked: Params = {}
        for name, d in self.items():
            try:
                if name in params:
                    checked[name] = self._given(name, params[name])
                elif name in idle and (
                    not partial or params.get("strategy") == PROBE or combinations.switch(self.root, name) in params
                ):
                    checked[name] = nearest(d, HYPERPARAMETERS[name].default)
                elif not isinstance(d, Range | tuple):
                    checked[name] = d
                elif not partial:
                    raise ValueError("is missing")
            except ValueError as error:
                problems.append((("params", name), str(error)))
        if problems:
            raise refuse("params", *problems)
        return checked

    def _given(self, name: str, value: Any) -> Scalar:
        """Return the value that a user gives a dimension, in the space's types. Raises ValueError."""
        d, knob = self[name], self.knob(name)
        checked = knob.check(value)
        if checked == AUTO and not knob.has_words:
            raise ValueError(f"must be a number in the study's space: {describe(d)}")
        closest = nearest(d, checked)
        if closest != checked and (
            isinstance(checked, str) or not math.isclose(float(closest), checked, rel_tol=EQUAL)
        ):
            raise ValueError(f"must lie in the study's space: {describe(d)}")
        return closest

    def _idle(self, params: Mapping[str, Any]) -> set[str]:
        """Return the dimensions that change nothing in a configuration."""
        return combinations.idle(self.root, params)

    def knob(self, name: str) -> Hyperparameter:
        """Return the hyperparameter of this name, as this space knows it. Raises KeyError."""
        return self.vocabulary[name]


def _order(name: str) -> tuple[int, str]:
    names = list(HYPERPARAMETERS)
    return (names.index(name) if name in names else len(names), name)
