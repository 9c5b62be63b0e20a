"""Targets that are numbers: one for each row, learned in units of the training split's deviation from its mean.

The tasks of regression name the class `Numbers`; `number_values` reads and checks the values.
"""

import bisect
import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from luthier.studies.findings import Finding
from luthier.trials.data.group_splits import Quantile
from luthier.trials.data.number_findings import number_findings
from luthier.trials.data.number_values import read_numbers, written_as_text
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import Targets
from luthier.trials.errors import BadData

STRATA = 10
"""The most strata of equally many rows, from the smallest numbers to the largest."""
STRATUM_ROWS = 10
"""The least training rows of a stratum."""


@dataclass(frozen=True)
class Numbers(Targets):
    """A number for each row.

    Attributes:
        edges: The numbers between two strata, ascending.
        mean: Of the training split.
        deviation: Of the training split, from the mean; above 0.
        in_units: The outputs of the model that learned them are in the data's units; else in deviations from the mean.
    """

    edges: tuple[float, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0
    in_units: bool = False

    @classmethod
    def alike(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str]
    ) -> tuple[dict[str, Table], Sequence[Finding]]:
        """Return the tables as they are, and what is told of numbers that are written as text."""
        found = [finding for table in tables.values() for finding in written_as_text(table, columns["label"])]
        return dict(tables), found

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read a number for each row. Raises BadData."""
        numbers = {name: read_numbers(table, columns["label"]) for name, table in tables.items()}
        _check_different(numbers["train"], tables["train"], f"column {columns['label']!r} holds")
        count = min(STRATA, len(numbers["train"]) // STRATUM_ROWS)
        edges = statistics.quantiles(numbers["train"], n=count) if count > 1 else []
        return cls(tuple(sorted(set(edges)))), dict(numbers)

    @classmethod
    def restore(cls, about: Mapping[str, Any]) -> Self:
        """Return the numbers of a packed model, whose outputs are in the data's units."""
        known = about["numbers"]
        mean, deviation = float(known["mean"]), float(known["deviation"])
        if not (math.isfinite(mean) and 0 < deviation < math.inf):
            raise ValueError(f"numbers of the mean {mean} and the deviation {deviation}")
        return cls(tuple(map(float, known["edges"])), mean, deviation, in_units=True)

    def in_data(self) -> Self:
        """Return the same with outputs in deviations from the mean, as the targets of data are."""
        return replace(self, in_units=False)

    def blanks(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
        """Return the mean for each row."""
        return [self.mean] * rows

    def trained_on(self, rows: Sequence[Any]) -> Self:
        """Return the same with the mean and the deviation of the training rows."""
        mean = math.fsum(rows) / len(rows)
        deviation = math.sqrt(math.fsum((number - mean) ** 2 for number in rows) / len(rows))
        return replace(self, mean=mean, deviation=deviation)

    @property
    def about(self) -> dict[str, Any]:
        """Mean, deviation and the edges of the strata."""
        return {"numbers": {"mean": self.mean, "deviation": self.deviation, "edges": list(self.edges)}}

    @property
    def identity(self) -> Hashable:
        """Mean and deviation."""
        return self.mean, self.deviation

    def as_text(self, target: Any) -> str:
        """Return a row's number."""
        return f"{target:.6g}"

    def strata(self, rows: Sequence[Any]) -> list[Hashable]:
        """Return the quantile that each row's number lies in."""
        return [Quantile(bisect.bisect_right(self.edges, number)) for number in rows]

    def findings(self, splits: Mapping[str, Sequence[Any]], declared: bool) -> Sequence[Finding]:
        """Return what is remarkable about the numbers: outliers, few different ones, splits of one number."""
        return number_findings(splits)

    def check_training(self, rows: Sequence[Any], table: Table) -> None:
        """Raise BadData when training has one number only."""
        _check_different(rows, table, "after the split training holds")


def _check_different(numbers: Sequence[float], table: Table, what: str) -> None:
    """Raise BadData when all numbers are the same, or too near for a model's numbers of 32 bits."""
    least, most = min(numbers), max(numbers)
    if least == most:
        text = f"{table.name}: {what} one number only ({least:g}); there is nothing to learn: is it the right column?"
        raise BadData(text, "dataset", "columns", "label")
    if most - least < SMALLEST:
        text = f"{table.name}: {what} numbers from {least!r} to {most!r}, which differ by less than {SMALLEST:g}: too "
        raise BadData(f"{text}small for a model; multiply all of them, by 1e30 say.", *table.path)
    if most - least < NEAREST * max(abs(least), abs(most)):
        text = (
            f"{table.name}: {what} numbers from {least!r} to {most!r}, which are too near to each other for a model; "
        )
        raise BadData(f"{text}subtract {least!r} from all of them.", *table.path)


SMALLEST = 1e-30
"""The least distance of the largest and the smallest number: squares of smaller ones vanish, and a head's weights."""
NEAREST = 1e-5
"""The least distance of the largest and the smallest number, by their size: 32 bits hold some 7 digits."""
