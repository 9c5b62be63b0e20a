"""The draft of a spec that an importer fills: what has an equal here, and what is left out, by its path.

Each reader of a foreign document makes one and calls its methods. Nothing of a document is run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.studies.dimensions import parse_dimension
from luthier.studies.documents import Path
from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.importers.names import hyperparameter, metric, model_name, source_name, word

MOST_TEXT = 80


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

    def leave(self, path: Path | str, why: str) -> None:
        """Note that a value of the document has no equal here."""
        self.left[path if isinstance(path, str) else ".".join(map(str, path))] = why

    def leave_rest(
        self, document: Mapping[str, Any], *known: str, under: Path = (), why: str = "no equal here"
    ) -> None:
        """Note all keys of a mapping but those that were read."""
        for key in document:
            if key not in known:
                self.leave((*under, key), why)

    def put(self, path: Path, *value: Any) -> None:
        """Put a value at a path of the spec, where there is one: `put(("budget", "trials"), 30)`; None puts nothing."""
        if value[0] is None:
            return
        inner = self.spec
        for key in path[:-1]:
            inner = inner.setdefault(str(key), {})
        inner[str(path[-1])] = value[0]

    def objective(self, path: Path, name: Any, maximize: bool | None) -> None:
        """Take a metric, where a task here has it, and its direction where that is the metric's own."""
        known = metric(name)
        if known is None:
            self.leave(path, f"no task here has a metric {_short(name)}; `GET /v1/tasks` lists them")
            return
        self.put(("objective", "metric"), known.name)
        if maximize is not None and maximize != known.maximize:
            direction = "maximize" if known.maximize else "minimize"
            self.leave(path, f"{known.name} is {direction}d here, and the document does the contrary")

    def fixed(self, path: Path, name: str, value: Any) -> None:
        """Take a single value."""
        if model_name(name):
            self._models(path, [value])
        elif source_name(name) and isinstance(value, str):
            self.put(("dataset", "source"), value)
        elif name.rpartition(".")[2].lower() in ("seed", "random_state", "random_seed") and isinstance(value, int):
            self.put(("seed",), value)
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

    def range(self, path: Path, name: str, low: Any, high: Any, log: bool = False, step: Any = None) -> None:
        """Take a range of numbers; texts of numbers are read."""
        try:
            bounds = {"low": _number(low), "high": _number(high)}
            bounds |= {"log": True} if log else {}
            bounds |= {"step": _number(step)} if step not in (None, 0) and not log else {}
        except (TypeError, ValueError):
            self.leave(path, f"{_short(low)} to {_short(high)} is no range of numbers")
            return
        self.dimension(path, name, bounds)

    def dimension(self, path: Path, name: str, raw: Any) -> None:
        """Take a dimension of the space, if it is one of a hyperparameter that is here."""
        ours = hyperparameter(name)
        if ours is None:
            self.leave(path, f"no hyperparameter here is called {_short(name)}")
            return
        if ours in self.spec.get("space", {}):
            self.leave(path, f"another key is {ours} already")
            return
        known = HYPERPARAMETERS[ours]
        if known.kind == "int" and isinstance(raw, dict):
            raw = {key: int(value) if key in ("low", "high", "step") else value for key, value in raw.items()}
        if known.has_words:
            raw = [word(ours, value) for value in raw] if isinstance(raw, list) else word(ours, raw)
            raw = list(dict.fromkeys(raw)) if isinstance(raw, list) else raw
        elif isinstance(raw, list):
            raw = [_plain(value) for value in raw]
        elif not isinstance(raw, dict):
            raw = _plain(raw)
        try:
            parse_dimension(known, raw)
        except ValueError as error:
            self.leave(path, f"{ours}: {_reason(error)}")
            return
        self.put(("space", ours), raw)

    def _models(self, path: Path, values: list[Any]) -> None:
        if all(isinstance(value, str) for value in values):
            self.put(("model",), values[0] if len(values) == 1 else values)
        else:
            self.leave(path, "a model is a folder or a hub id")


def _number(value: Any) -> float | int:
    """Return a number, or that in a text. Raises TypeError, ValueError."""
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, int | float):
        return value
    number = float(value)
    return int(number) if number.is_integer() and "." not in str(value) and "e" not in str(value).lower() else number


def _plain(value: Any) -> Any:
    """Return a number for a text of one: tools that write all values as texts mean it so."""
    try:
        return _number(value)
    except (TypeError, ValueError):
        return value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}..."


def _reason(error: ValueError) -> str:
    """Return the first sentence of an error, without pydantic's frame."""
    errors = getattr(error, "errors", None)
    return str(errors()[0]["msg"]) if errors is not None else str(error)
