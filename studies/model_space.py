"""The space of a study over several models: the model is a dimension, a freeze depth a fraction.

Models have different numbers of blocks, so `freeze_depth` says how much of the model is frozen, from 0 to 1; a trial
freezes the nearest whole number of its model's blocks. Fractions that freeze the same blocks are one configuration.
`spec_keys.py` makes such a space where a spec lists models.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import PrivateAttr

from luthier.studies import combinations
from luthier.studies.auto import with_length
from luthier.studies.dimensions import Dimension, Range, nearest
from luthier.studies.documents import refuse
from luthier.studies.hyperparameters import AUTO, HYPERPARAMETERS, PROBE, Hyperparameter, Params, Scalar
from luthier.studies.space import Space

MODELS = 16  # more in one study are a mistake: each is opened before the first trial
LENGTH = 4096  # characters of a model's name: the longest path that Linux takes
TOLERANCE = 1e-9  # of a block: 0.29 * 50 is 14.5, but computed as 14.499999999999998
_DEPTH = "freeze_depth"
_MODEL = {"type": "string", "minLength": 1, "maxLength": LENGTH}
MODEL_SCHEMA = {
    "anyOf": [_MODEL, {"type": "array", "items": _MODEL, "minItems": 1, "maxItems": MODELS, "uniqueItems": True}],
    "description": "A local directory or a hub id. A list makes the model a hyperparameter; freeze_depth is then a "
    "fraction of each model's depth.",
}
FRACTION = Hyperparameter(
    _DEPTH,
    "float",
    0.0,
    "Bottom part of the backbone kept frozen, as a fraction of each model's blocks; auto: all.",
    low=0,
    high=1,
    auto=True,
    unit="a fraction of each model's depth, since the study has several models",
)


def frozen_blocks(fraction: float, depth: int) -> int:
    """Return the whole number of blocks nearest to a fraction of `depth` blocks; halves go up."""
    return math.floor(fraction * depth + 0.5 + TOLERANCE)


class ModelsSpace(Space):
    """The space of several models. Once `resolved`, `model` is a dimension of it, the first one."""

    vocabulary: ClassVar[Mapping[str, Hyperparameter]] = {**HYPERPARAMETERS, _DEPTH: FRACTION}
    _models: tuple[str, ...] = PrivateAttr(())
    _depths: dict[str, int] = PrivateAttr(default_factory=dict)  # model -> number of blocks; empty before `resolved`

    @classmethod
    def over(cls, models: Sequence[str], raw: Any) -> Self:
        """Parse a space over these models. Raises ValidationError."""
        return cls.model_validate(raw, context={"models": tuple(models)})

    def model_post_init(self, context: Any) -> None:
        """Keep the models, which `over` passes on as pydantic's context."""
        if context is not None:
            self._models = context["models"]

    def endless(self) -> list[str]:
        """Return the searched dimensions whose values cannot be counted; fractions of a depth count as its blocks."""
        return [name for name in super().endless() if name != _DEPTH]

    def resolved(self, *depths: int, length: int | None = None) -> Self:
        """Return the space with its dimension `model`, and numbers for `auto`: of a freeze depth 1, all blocks.

        Args:
            depths: The blocks of each model, in order.
            length: What `max_length: auto` stands for, with every model.
        """
        dimensions = with_length({name: d for name, d in self.items() if name != "model"}, length)
        root: dict[str, Any] = {"model": self._models, **dimensions}
        if _DEPTH in root:
            root[_DEPTH] = _without_auto(root[_DEPTH])
        space = self.model_copy(update={"root": root}).of_length(length)
        space._depths = dict(zip(self._models, depths, strict=True))
        return space

    def size(self) -> int | None:
        """Return the number of different configurations of a resolved space; None when it is continuous."""
        trained, probed = combinations.apart(self._further_dimensions().root)
        size = combinations.count(trained)
        of_probe = 0 if probed is None else combinations.count(probed)
        if size is None or of_probe is None:
            return None
        return size * len(self._choices()) + of_probe * len(self._models)

    def key(self, params: Mapping[str, Scalar]) -> tuple[Scalar, ...]:
        """Return the values that tell a configuration from all different ones: blocks in place of a fraction."""
        idle = self._idle(params) if params.get("strategy") == PROBE else set()
        return tuple(
            HYPERPARAMETERS[name].default if name in idle else self._blocks(params) if name == _DEPTH else params[name]
            for name in self.free()
        )

    def configuration(self, index: int) -> Params:
        """Return configuration `index` of a finite resolved space, from 0; its first digit is model and depth."""
        choices = self._choices()
        trained, probed = combinations.apart(self._further_dimensions().root)
        before = (combinations.count(trained) or 0) * len(choices)
        if probed is not None and index >= before:  # no depth changes anything: the first of each model stands for all
            index, digit = divmod(index - before, len(self._models))
            first = next(choice for choice in choices if choice["model"] == self._models[digit])
            params = first | combinations.combination(probed, index)
        else:
            index, digit = divmod(index, len(choices))
            params = choices[digit] | combinations.combination(trained, index)
        return {name: params[name] for name in self}

    def assigned(self, params: Params) -> Params:
        """Return a complete configuration with the number of blocks to freeze in place of the fraction."""
        return {**params, _DEPTH: self._blocks(params)}

    def knob(self, name: str) -> Hyperparameter:
        """Return the hyperparameter of this name; `model` is one here. Raises KeyError."""
        if name == "model":
            return Hyperparameter(name, "choice", self._models[0], "", choices=self._models)
        return super().knob(name)

    def _blocks(self, params: Mapping[str, Scalar]) -> int:
        return frozen_blocks(float(params[_DEPTH]), self._depths[str(params["model"])])

    def _further_dimensions(self) -> Space:
        """Return the space without model and freeze depth, which depend on each other."""
        return Space.model_construct({name: d for name, d in self.items() if name not in ("model", _DEPTH)})

    def _choices(self) -> list[Params]:
        """Return each model with each number of its blocks that can be frozen, as a fraction."""
        if _DEPTH not in self.root:
            return [{"model": model} for model in self._models]
        return [{"model": model, _DEPTH: fraction} for model in self._models for fraction in self._fractions(model)]

    def _fractions(self, model: str) -> list[Scalar]:
        """Return one fraction for each number of the model's blocks that the freeze depth can mean.

        Of a range, take for each number of blocks the value nearest to blocks / depth: if any value of the range
        rounds to that number, this one does.
        """
        d, depth = self[_DEPTH], self._depths[model]
        if isinstance(d, Range):
            values = [nearest(d, blocks / depth) for blocks in range(depth + 1)]
        else:
            values = list(d) if isinstance(d, tuple) else [d]
        # Of values that freeze the same blocks the first one stays.
        return list({frozen_blocks(float(value), depth): value for value in reversed(values)}.values())[::-1]


def _without_auto(d: Dimension) -> Dimension:
    """Return a freeze depth's dimension with 1, all blocks, in place of `auto`."""
    if isinstance(d, Range):
        return d.model_copy(update={"high": 1.0}) if d.high == AUTO else d
    if isinstance(d, tuple):
        return tuple(dict.fromkeys(1.0 if value == AUTO else value for value in d))
    return 1.0 if d == AUTO else d


def check_models(value: Any) -> str | tuple[str, ...]:
    """Return the only model, or a tuple of several different ones. Raises ValidationError, ValueError."""
    if not isinstance(value, list | tuple):
        return _check_model(value)
    if not 1 <= len(value) <= MODELS:
        raise ValueError(f"must be one model, or a list of 1 to {MODELS}")
    problems: list[tuple[tuple[str | int, ...], str]] = []
    for i, name in enumerate(value):
        try:
            if _check_model(name) in value[:i]:
                problems.append(((i,), f"{name} is listed twice"))
        except ValueError as error:
            problems.append(((i,), str(error)))
    if problems:
        raise refuse("model", *problems)
    return str(value[0]) if len(value) == 1 else tuple(value)


def _check_model(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > LENGTH:
        raise ValueError(f"must be a local directory or a hub id of at most {LENGTH} characters, or a list of them")
    if "\0" in name:
        raise ValueError("must not hold a NUL character")
    return name
