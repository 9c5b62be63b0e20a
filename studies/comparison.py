"""What differs between the specs and the configurations of studies or trials, side by side.

The page and the command that compare show its rows; nothing here reads a study.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNSAID = ("name", "semantics")  # keys of a spec that differ without a meaning


@dataclass(frozen=True)
class Row:
    """A line of a comparison: its words, and a value for each side."""

    label: str
    values: list[str]

    @property
    def differs(self) -> bool:
        """Whether the values are not all the same."""
        return len(set(self.values)) > 1


def spec_rows(specs: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return the values of specs by their paths."""
    sides = [_flat({key: value for key, value in spec.items() if key not in UNSAID}) for spec in specs]
    return _rows(sides, "-")


def param_rows(params: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the configurations of trials by hyperparameter; an empty one where there is no trial."""
    return _rows([{name: _text(value) for name, value in values.items()} for values in params], "-")


def _rows(sides: Sequence[Mapping[str, str]], missing: str) -> list[Row]:
    labels = dict.fromkeys(label for values in sides for label in values)
    return [Row(label, [values.get(label, missing) for values in sides]) for label in labels]


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Return the values of a document by their paths, as space.learning_rate.low."""
    if not isinstance(value, Mapping) or not value:
        return {path: _text(value)}
    found: dict[str, str] = {}
    for key, part in value.items():
        found |= _flat(part, f"{path}.{key}" if path else str(key))
    return found


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
