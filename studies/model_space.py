"""The space of a study over several models: the model is one of its dimensions, and a freeze depth is a fraction.

Models have different numbers of blocks, so `freeze_depth` says how much of the model is frozen, from 0 to 1; a trial
freezes the nearest whole number of its model's blocks. Fractions that freeze the same blocks are one configuration.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import PrivateAttr

from luthier.studies.hyperparameters import AUTO, HYPERPARAMETERS, Hyperparameter, Params, Scalar
from luthier.studies.space import Range, Space, nearest, refuse

MODELS = 16  # more in one study are a mistake: each is opened before the first trial
LENGTH = 4096
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
    """The whole number of blocks nearest to a fraction of `depth`; halves go up."""
    return math.floor(fraction * depth + 0.5 + 1e-9)  # 0.29 * 50 is a half


class ModelsSpace(Space):
    """The space of several models. Once `resolved`, `model` is a dimension of it, the first one."""

    known: ClassVar[Mapping[str, Hyperparameter]] = {**HYPERPARAMETERS, _DEPTH: FRACTION}
    _models: tuple[str, ...] = PrivateAttr(())
    _depths: dict[str, int] = PrivateAttr(default_factory=dict)  # model -> number of blocks

    @classmethod
    def over(cls, models: Sequence[str], raw: Any) -> Self:
        """Parse a space over these models. Raises ValidationError."""
        space = cls.model_validate(raw)
        space._models = tuple(models)
        return space

    def resolved(self, *depths: int) -> Self:
        """The space with its dimension `model`, and 1 for `auto`. `depths`: blocks of each model, in order."""
        root: dict[str, Any] = {"model": self._models, **{name: d for name, d in self.items() if name != "model"}}
        if _DEPTH in root:
            root[_DEPTH] = _without_auto(root[_DEPTH])
        space = self.model_copy(update={"root": root})
        space._depths = dict(zip(self._models, depths, strict=True))
        return space

    def size(self) -> int | None:
        others = self._others().size()
        return None if others is None else others * len(self._choices())

    def key(self, params: Mapping[str, Scalar]) -> tuple[Scalar, ...]:
        return tuple(self._blocks(params) if name == _DEPTH else params[name] for name in self.free())

    def configuration(self, index: int) -> Params:
        choices = self._choices()
        index, digit = divmod(index, len(choices))
        params = choices[digit] | self._others().configuration(index)
        return {name: params[name] for name in self}

    def assigned(self, params: Params) -> Params:
        """A complete configuration with the number of blocks to freeze for the fraction."""
        return {**params, _DEPTH: self._blocks(params)}

    def _knob(self, name: str) -> Hyperparameter:
        if name == "model":
            return Hyperparameter(name, "choice", self._models[0], "", choices=self._models)
        return super()._knob(name)

    def _blocks(self, params: Mapping[str, Scalar]) -> int:
        return frozen_blocks(float(params[_DEPTH]), self._depths[str(params["model"])])

    def _others(self) -> Space:
        return Space.model_construct({name: d for name, d in self.items() if name not in ("model", _DEPTH)})

    def _choices(self) -> list[Params]:
        """Every model with every number of blocks that can be frozen of it, as one fraction that freezes so many."""
        if _DEPTH not in self.root:
            return [{"model": model} for model in self._models]
        return [{"model": model, _DEPTH: fraction} for model in self._models for fraction in self._fractions(model)]

    def _fractions(self, model: str) -> list[Scalar]:
        d, depth = self[_DEPTH], self._depths[model]
        if isinstance(d, Range):  # if any of its values freezes so many blocks, the one nearest to their share does
            values = [nearest(d, blocks / depth) for blocks in range(depth + 1)]
        else:
            values = list(d) if isinstance(d, tuple) else [d]
        return list({frozen_blocks(float(value), depth): value for value in reversed(values)}.values())[::-1]


def _without_auto(d: Any) -> Any:
    if isinstance(d, Range):
        return d.model_copy(update={"high": 1.0}) if d.high == AUTO else d
    if isinstance(d, tuple):
        return tuple(dict.fromkeys(1.0 if value == AUTO else value for value in d))
    return 1.0 if d == AUTO else d


def check_models(value: Any) -> str | tuple[str, ...]:
    """One model, or a tuple of different ones; a list of one is that one. Raises ValidationError, ValueError."""
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
