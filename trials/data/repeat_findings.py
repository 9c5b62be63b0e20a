"""Findings on rows with the same input: repeats, also across given splits, and labels that contradict.

`load_data` calls `repeat_findings` for an inspection, before splits are drawn: splits that are drawn share no input.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from luthier.studies.findings import EXAMPLES, Finding, note, warning
from luthier.studies.wire import cut
from luthier.trials.data.repeats import Numbers, noun, units_of
from luthier.trials.data.splits import Split
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import Targets

_CHARACTERS = 60  # of an input, in an example
_ROWS = 4  # of an input, that an example names
_ORDER = ("train", "validation", "test")


def repeat_findings(
    given: Mapping[str, Split],
    tables: Mapping[str, Table],
    rows: Mapping[str, Sequence[int]],
    first: Mapping[str, Numbers],
    targets: Targets,
) -> list[Finding]:
    """Return what is to be told of rows with the same input.

    Args:
        given: Split name -> its rows, before others are drawn from "train".
        tables: Split name -> the table that they come from.
        rows: Split name -> the number in the table of each row.
        first: Split name -> a number for each row, the same one in all splits for rows with the same input: (rows,).
        targets: What is learned.
    """
    rows_of = _Rows({name: given[name] for name in _ORDER if name in given}, tables, rows, targets)
    ordered = {name: first[name] for name in rows_of.splits}
    units = units_of(numpy.concatenate(list(ordered.values())))
    if not units:
        return []
    return [
        *_across(rows_of, ordered),
        *(_contradictory(rows_of, units) if targets.exclusive else ()),
        *_within(rows_of, ordered, units),
    ]


class _Rows:
    """The rows of all splits, one split after another, by their numbers in this order."""

    def __init__(
        self,
        splits: Mapping[str, Split],
        tables: Mapping[str, Table],
        numbers: Mapping[str, Sequence[int]],
        targets: Targets,
    ) -> None:
        self.splits, self._tables, self._numbers, self._targets = splits, tables, numbers, targets
        ends = itertools.accumulate(map(len, splits.values()), initial=0)
        self._offsets = dict(zip(splits, ends, strict=False))
        self.noun = noun(next(iter(splits.values())).columns)

    def place(self, row: int) -> tuple[str, int]:
        """Return the split of a row, and its number there."""
        name = next(name for name in reversed(self._offsets) if self._offsets[name] <= row)
        return name, row - self._offsets[name]

    def number(self, name: str, row: int) -> int:
        """Return the number over all splits of a row of one."""
        return self._offsets[name] + row

    def target(self, row: int) -> Any:
        """Return what is learned from a row."""
        name, number = self.place(row)
        return self.splits[name].targets[number]

    def label(self, row: int) -> str:
        """Return what is learned from a row, as people read it."""
        return self._targets.as_text(self.target(row))

    def where(self, row: int) -> str:
        """Return a row's name."""
        name, number = self.place(row)
        where = self._tables[name].where(self._numbers[name][number])
        return where if len(self.splits) == 1 else f"{name} {where}"

    def file(self, name: str) -> str:
        """Return the name of a split with its source."""
        return self._tables[name].name if len(self.splits) == 1 else f"{name} ({self._tables[name].name})"

    def quoted(self, row: int) -> str:
        """Return a row's input, cut; empty where the rows' names say what they are."""
        name, number = self.place(row)
        values = [values[number] for values in self.splits[name].columns.values()]
        texts = [" ".join(map(_word, value[:_CHARACTERS])) if isinstance(value, list) else value for value in values]
        return " / ".join(f'"{cut(text, _CHARACTERS)}"' for text in texts if isinstance(text, str))

    def example(self, rows: Sequence[int], told: Iterable[str]) -> str:
        """Return an example: an input, and what is told of some of its rows."""
        shown = ", ".join(text for text, _ in zip(told, range(_ROWS), strict=False))
        more = f" and {len(rows) - _ROWS:,} more" if len(rows) > _ROWS else ""
        return ": ".join(filter(None, (self.quoted(rows[0]), shown + more)))


def _word(value: Any) -> str:
    """Return a word, or the content of a message."""
    return str(value["content"]) if isinstance(value, dict) else str(value)


def _across(rows: _Rows, first: Mapping[str, Numbers]) -> list[Finding]:
    """Return the finding on inputs of one given split that are in an earlier one too."""
    told, examples = list[str](), list[str]()
    concerned: dict[str, NDArray[numpy.bool_]] = {}
    for other, name in itertools.combinations(first, 2):
        shared = numpy.isin(first[name], first[other])
        if not shared.any():
            continue
        concerned[name] = concerned.get(name, False) | shared
        told.append(f"{shared.sum():,} of the {len(shared):,} rows of {rows.file(name)} are in {rows.file(other)} too")
        for row in numpy.flatnonzero(shared)[: EXAMPLES - len(examples)].tolist():
            twin = int(numpy.flatnonzero(first[other] == first[name][row])[0])
            pair = [rows.number(name, row), rows.number(other, twin)]
            examples.append(rows.example(pair, map(rows.where, pair)))
    if not concerned:
        return []
    text = f"The same {rows.noun} stand in several of the splits that are given: {'; '.join(told)}. "
    text += "Scores on them are better than on new ones."
    files = " and ".join(map(rows.file, concerned))
    cure = f"Remove these rows from {files}, or give one file and let its splits be drawn."
    count = sum(int(shared.sum()) for shared in concerned.values())
    return [warning("repeats-across-splits", text, cure, count, examples)]


def _contradictory(rows: _Rows, units: Sequence[list[int]]) -> list[Finding]:
    """Return the finding on inputs that have more than one label."""
    found = [unit for unit in units if any(rows.target(row) != rows.target(unit[0]) for row in unit[1:])]
    if not found:
        return []
    examples = []
    for unit in found[:EXAMPLES]:
        labels: dict[str, int] = {}
        for row in unit:
            labels.setdefault(rows.label(row), row)  # the first row of each label
        examples.append(
            rows.example([*labels.values()], (f"{label} in {rows.where(row)}" for label, row in labels.items()))
        )
    count = sum(map(len, found))
    text = f"{rows.noun.capitalize()} with more than one label: {len(found):,}, in {count:,} rows. "
    text += "No model can get all of them right."
    cure = "Give all rows of an input the right label, or remove those that are wrong."
    return [warning("contradictory-labels", text, cure, len(found), examples)]


def _within(rows: _Rows, first: Mapping[str, Numbers], units: Sequence[list[int]]) -> list[Finding]:
    """Return the finding on rows that repeat an earlier row of their split."""
    repeats = {name: len(numbers) - len(numpy.unique(numbers)) for name, numbers in first.items()}
    told = [f"{n:,} of the {len(first[name]):,} rows of {rows.file(name)}" for name, n in repeats.items() if n]
    if not told:
        return []
    largest = sorted(units, key=lambda unit: -len(unit))[:EXAMPLES]
    text = f"{' and '.join(told)} repeat an earlier row; they lie on its side of the splits that are drawn."
    cure = "Remove those that are mistakes: they count again in training and in scores."
    examples = (rows.example(unit, map(rows.where, unit)) for unit in largest)
    return [note("repeats", text, sum(repeats.values()), examples, cure)]
