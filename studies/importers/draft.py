"""The draft of a spec that an importer fills: what has an equal here, and what is left out, by its path.

Each reader of a foreign document makes one and calls its methods. Nothing of a document is run.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from luthier.studies.budget import Budget
from luthier.studies.dimensions import parse_dimension
from luthier.studies.documents import Document, Path
from luthier.studies.hyperparameters import HYPERPARAMETERS, Hyperparameter
from luthier.studies.importers.names import hyperparameter, metric, model_name, source_name, word
from luthier.studies.spec import StudySpec
from luthier.studies.strategy import Objective, Pruner, Sampler
from luthier.studies.text import one_line

MOST_TEXT = 80
LONGEST_PATH = 200
_BOUNDS = ("low", "high", "step")
_PARTS: dict[str, type[Document]] = {"budget": Budget, "sampler": Sampler, "pruner": Pruner, "objective": Objective}
_FIELDS = StudySpec.model_fields
_NUMBERS: dict[str, TypeAdapter[int]] = {
    name: TypeAdapter(Annotated[int, *_FIELDS[name].metadata]) for name in ("seed", "parallel")
}


@dataclass
class Draft:
    """A spec in the making.

    Attributes:
        tool: The other tool, and what the document is in its words.
        spec: Keys of a spec. Task, model and data set are seldom among them: such documents do not say them.
        left: Path in the document -> why it has no equal here.
        trials: Rows of trials that were run, for a csv: number, state, value, and `params.` before each parameter.
    """

    tool: str
    spec: dict[str, Any] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)

    def leave(self, path: Path, why: str) -> None:
        """Note that a value of the document has no equal here."""
        self.left[one_line(".".join(map(str, path)), LONGEST_PATH)] = one_line(why)

    def put(self, path: Path, value: Any, at: Path) -> None:
        """Put a value at a path of the spec, where there is one and the spec takes it; else it is noted.

        Args:
            path: In the spec, as ("budget", "trials").
            value: Of it; None puts nothing.
            at: Where the value stands in the document.
        """
        if value is None:
            return
        inner = self.spec
        for key in path[:-1]:
            inner = inner.get(str(key), {})
        key = str(path[-1])
        if key in inner:
            if inner[key] != value:
                self.leave(at, f"another key is {'.'.join(map(str, path))} already")
        elif _is_taken(path, value, inner):
            for part in path[:-1]:
                self.spec.setdefault(str(part), {})
            (self.spec if len(path) == 1 else self.spec[str(path[0])])[key] = value
        else:
            self.leave(at, f"{short(value)} is no value of {'.'.join(map(str, path))}")

    def objective(self, path: Path, name: Any, maximize: bool | None, direction_at: Path) -> None:
        """Take a metric, where a task here has it, and its direction where that is the metric's own."""
        known = metric(name)
        if known is None:
            self.leave(path, f"no task here has a metric {short(name)}; `GET /v1/tasks` lists them")
            return
        self.put(("objective", "metric"), known.name, path)
        if maximize is not None and maximize != known.maximize:
            direction = "maximize" if known.maximize else "minimize"
            self.leave(direction_at, f"{known.name} is {direction}d here, and the document does the contrary")

    def fixed(self, path: Path, name: str, value: Any) -> None:
        """Take a single value."""
        last = name.rpartition(".")[2].lower()
        if model_name(name):
            self._models(path, [value])
        elif source_name(name) and isinstance(value, str):
            self.put(("dataset", "source"), value, path)
        elif last in ("seed", "random_state", "random_seed") and isinstance(plain(value), int):
            self.put(("seed",), plain(value), path)
        else:
            self.dimension(path, name, value)

    def choices(self, path: Path, name: str, values: Any) -> None:
        """Take a list of values."""
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            self.leave(path, "must be a list of values")
        elif model_name(name):
            self._models(path, list(values))
        else:
            self.dimension(path, name, list(values))

    def range(
        self,
        path: Path,
        name: str,
        low: Any,
        high: Any,
        log: bool = False,
        step: Any = None,
        step_at: Path = (),
    ) -> None:
        """Take a range of numbers; texts of numbers are read.

        Args:
            path: Of the parameter.
            name: Of the parameter.
            low: The least value.
            high: The greatest value.
            log: The range is logarithmic.
            step: Between two values; None or 0 for none.
            step_at: The path of the step.
        """
        try:
            bounds: dict[str, Any] = {"low": number(low), "high": number(high)}
        except (TypeError, ValueError):
            self.leave(path, f"{short(low)} to {short(high)} is no range of numbers")
            return
        if log:
            bounds["log"] = True
        if step not in (None, 0):
            try:
                between = number(step)
            except (TypeError, ValueError):
                self.leave(step_at, f"{short(step)} is no step between numbers")
            else:
                if log:
                    self.leave(step_at, "a logarithmic range has no step here")
                else:
                    bounds["step"] = between
        self.dimension(path, name, bounds)

    def dimension(self, path: Path, name: str, raw: Any) -> None:
        """Take a dimension of the space, if it is one of a hyperparameter that is here."""
        ours = hyperparameter(name)
        if ours is None:
            self.leave(path, f"no hyperparameter here is called {short(name)}")
            return
        if ours in self.spec.get("space", {}):
            self.leave(path, f"another key is {ours} already")
            return
        known = HYPERPARAMETERS[ours]
        try:
            raw = _as_ours(known, raw)
            parse_dimension(known, raw)
        except (TypeError, ValueError, OverflowError) as error:
            self.leave(path, f"{ours}: {_reason(error)}")
            return
        self.spec.setdefault("space", {})[ours] = raw

    def _models(self, path: Path, values: list[Any]) -> None:
        if all(isinstance(value, str) for value in values):
            self.put(("model",), values[0] if len(values) == 1 else values, path)
        else:
            self.leave(path, "a model is a folder or a hub id")


def _is_taken(path: Path, value: Any, beside: Mapping[str, Any]) -> bool:
    """Return whether a spec takes a value, beside those of the same part of it."""
    part, key = str(path[0]), str(path[-1])
    try:
        if part in _PARTS:
            _PARTS[part].model_validate({**beside, key: value})
        elif part in _NUMBERS:
            _NUMBERS[part].validate_python(value, strict=True)
    except ValidationError:
        return False
    return part != "name" or isinstance(value, str)


def _as_ours(known: Hyperparameter, raw: Any) -> Any:
    """Return a dimension of another tool as a spec has it. Raises TypeError, ValueError, OverflowError."""
    if isinstance(raw, dict):
        is_whole = known.kind == "int"
        return {key: _whole(value) if is_whole and key in _BOUNDS else value for key, value in raw.items()}
    values = raw if isinstance(raw, list) else [raw]
    if not all(isinstance(value, bool | int | float | str) for value in values):
        raise TypeError("its values must be numbers or words")
    values = list(dict.fromkeys(word(known.name, value) if known.has_words else plain(value) for value in values))
    return values if isinstance(raw, list) else values[0]


def _whole(value: Any) -> int:
    if not isinstance(value, int | float) or value != value // 1:
        raise ValueError(f"its bounds must be whole numbers, and {short(value)} is none")
    return int(value)


def number(value: Any) -> float | int:
    """Return a finite number, or that in a text. Raises TypeError, ValueError."""
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?[0-9]{1,400}\s*", value):
        return int(value)
    if isinstance(value, str) and "_" in value:
        raise ValueError  # Python alone reads it as a number
    read = value if isinstance(value, int | float) else float(value)
    if isinstance(read, float) and not math.isfinite(read):
        raise ValueError
    return read


def plain(value: Any) -> Any:
    """Return a number for a text of one: tools that write all values as texts mean it so."""
    try:
        return number(value)
    except (TypeError, ValueError):
        return value


def short(value: Any) -> str:
    """Return a value for a sentence."""
    return one_line(str(value), MOST_TEXT) + ("..." if len(str(value)) > MOST_TEXT else "")


def _reason(error: Exception) -> str:
    """Return the first sentence of an error of a dimension, without pydantic's frame and words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return str(first["msg"]) if first["type"] == "value" else "is neither a value, nor choices, nor a range"
    return str(error) or "is neither a value, nor choices, nor a range"
