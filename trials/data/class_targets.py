"""Targets that are classes: a class for each row, or a tag for each word of a row.

The code of a task names one of them. `labels` reads and checks the values.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from luthier.studies.findings import Finding
from luthier.trials.data.label_findings import label_findings
from luthier.trials.data.label_spellings import label_key, merge_labels
from luthier.trials.data.label_values import plain_labels
from luthier.trials.data.labels import class_labels, tag_labels
from luthier.trials.data.tabular import Table
from luthier.trials.data.tag_spellings import merge_tags
from luthier.trials.data.targets import NamedTargets
from luthier.trials.errors import BadData


@dataclass(frozen=True)
class ClassTargets(NamedTargets):
    """One class for each row; a row's target is its class id.

    Attributes:
        unit: What is labelled, for messages.
        dominant: The share of the training split above which one label is said to dominate it.
    """

    unit: ClassVar[str] = "rows"
    dominant: ClassVar[float] = 0.9

    @classmethod
    def alike(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str]
    ) -> tuple[dict[str, Table], Sequence[Finding]]:
        """Return the tables with one type and one spelling for each label. Raises BadData."""
        return merge_labels(plain_labels(tables, columns["label"]), columns["label"])

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read a class for each row. Raises BadData."""
        names, ids = class_labels(tables, columns["label"])
        return cls(tuple(names)), dict(ids)

    def respelled(self, today: Self) -> Self:
        """Return the classes with today's spelling of each label, where another one has become the most frequent."""
        key = label_key([*self.names, *today.names])
        known = set(today.names)
        new = {key(name): name for name in today.names if name not in self.names}
        return replace(self, names=tuple(name if name in known else new.get(key(name), name) for name in self.names))

    def blanks(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
        """Return the first class for each row."""
        return [0] * rows

    def counts(self, splits: Iterable[Sequence[Any]]) -> dict[str, int]:
        """Return label -> its rows, or its words where words are labelled."""
        found = Counter(label for rows in splits for label in self.class_ids(rows))
        return {name: found[i] for i, name in enumerate(self.names)}

    def findings(self, splits: Mapping[str, Sequence[Any]], declared: bool) -> Sequence[Finding]:
        """Return what is remarkable about the classes: imbalance, rare ones, labels that look like others."""
        counts = {name: self.counts([rows]) for name, rows in splits.items()}
        return label_findings(counts, self.unit, self.dominant, declared)

    def as_text(self, target: Any) -> str:
        """Return a row's label, or its words' tags."""
        return " ".join(self.names[label] for label in self.class_ids([target]))

    def strata(self, rows: Sequence[Any]) -> list[Hashable]:
        """Return each row's class."""
        return list(rows)

    def check_training(self, rows: Sequence[Any], table: Table) -> None:
        """Raise BadData when training has one label only."""
        if len(set(self.class_ids(rows))) < 2:
            text = f"{table.name}: after the split fewer than two labels are left to train on; add rows."
            raise BadData(text, *table.path)

    def class_ids(self, rows: Iterable[Any]) -> Iterable[int]:
        """Return the class ids of some rows' targets, one after another."""
        return rows


@dataclass(frozen=True)
class TagTargets(ClassTargets):
    """A tag for each word; a row's target is the list of its words' class ids. O has the id 0."""

    unit: ClassVar[str] = "words"
    dominant: ClassVar[float] = 0.98  # most words of an honest text are outside of entities

    @classmethod
    def alike(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str]
    ) -> tuple[dict[str, Table], Sequence[Finding]]:
        """Return the tables with one spelling for each tag."""
        return merge_tags(tables, columns["label"])

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read a tag for each word. Raises BadData."""
        names, ids = tag_labels(tables, columns["label"], {name: inputs[name]["tokens"] for name in tables})
        return cls(tuple(names)), dict(ids)

    def blanks(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
        """Return the first tag for each word."""
        return [[0] * len(words) for words in columns["tokens"]]

    def strata(self, rows: Sequence[Any]) -> list[Hashable]:
        """Return the most frequent tag of each row, O excepted."""
        return [_most_frequent(tags) for tags in rows]

    def class_ids(self, rows: Iterable[Any]) -> Iterable[int]:
        """Return the class ids of all words, one after another."""
        return (tag for tags in rows for tag in tags)


def _most_frequent(labels: Sequence[int]) -> int:
    counts = Counter(label for label in labels if label)
    return min(counts, key=lambda label: (-counts[label], label)) if counts else 0
