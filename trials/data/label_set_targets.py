"""Targets of which a row has any number: the set of its labels, none included.

The tasks of multi-label classification name the class `LabelSetTargets`; `label_sets` reads and checks the values.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Self

from luthier.studies.findings import EXAMPLES, Finding, note, warning
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.group_splits import LabelSet
from luthier.trials.data.label_findings import set_findings
from luthier.trials.data.label_sets import SEPARATORS, label_sets, merge_sets
from luthier.trials.data.tabular import Table


@dataclass(frozen=True)
class LabelSetTargets(ClassTargets):
    """The labels of each row; a row's target is the list of its class ids, ascending.

    Attributes:
        threshold: The probability from which a model gives a label.
    """

    threshold: float = 0.5
    unit: ClassVar[str] = "rows"

    @classmethod
    def alike(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str]
    ) -> tuple[dict[str, Table], Sequence[Finding]]:
        """Return the tables with one spelling for each label. Raises BadData."""
        return merge_sets(tables, columns["label"])

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read the labels of each row. Raises BadData."""
        names, ids = label_sets(tables, columns["label"])
        return cls(tuple(names)), dict(ids)

    @classmethod
    def restore(cls, about: Mapping[str, Any]) -> Self:
        """Return the labels of a packed model, and the threshold that it was scored with."""
        threshold = float(about["threshold"])
        if not 0 < threshold < 1:
            raise ValueError(f"the threshold {threshold}")
        return cls(tuple(str(name) for name in about["label_names"]), threshold)

    @property
    def about(self) -> dict[str, Any]:
        """The labels by class id, and the threshold."""
        return {"label_names": self.label_names, "threshold": self.threshold}

    def blanks(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
        """Return no label for each row."""
        return [[] for _ in range(rows)]

    def as_text(self, target: Any) -> str:
        """Return a row's labels as a list."""
        return json.dumps([self.names[label] for label in target], ensure_ascii=False)

    def strata(self, rows: Sequence[Any]) -> list[Hashable]:
        """Return each row's set of labels."""
        return [LabelSet(row) for row in rows]

    def class_ids(self, rows: Iterable[Any]) -> Iterable[int]:
        """Return the class ids of all rows, one after another."""
        return chain.from_iterable(rows)

    def findings(self, splits: Mapping[str, Sequence[Any]], declared: bool) -> Sequence[Finding]:
        """Return what is remarkable about the labels: rows without any, those of all rows, rare ones, near ones."""
        counts = {name: self.counts([rows]) for name, rows in splits.items()}
        joined = [] if declared else self._joined()
        return [*self._sizes(splits), *self._everywhere(splits, counts), *joined, *set_findings(counts, declared)]

    def _joined(self) -> Iterable[Finding]:
        """Yield a warning where labels look like several ones, parted by another mark than the spec's."""
        known = set(self.names)
        parts = {name: [part for mark in SEPARATORS[:-1] for part in name.split(mark)] for name in self.names}
        found = [name for name in self.names if any(part != name and part.strip() in known for part in parts[name])]
        if found:
            more = f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else ""
            text = f"{len(found):,} labels look like several ones, of which another is one: "
            text += f"{', '.join(map(repr, found[:EXAMPLES]))}{more}. Each is learned as one label of its own."
            cure = "Write one mark between the labels of all rows, and name it as dataset.label_separator."
            yield warning("joined-labels", text, cure, len(found), found)

    def _sizes(self, splits: Mapping[str, Sequence[Any]]) -> Iterable[Finding]:
        sizes = [len(row) for rows in splits.values() for row in rows]
        if empty := sizes.count(0):
            text = f"{empty:,} of {len(sizes):,} rows have no label; that no label fits them is learned from them."
            yield note("rows-without-labels", text, empty, cure="Remove those that nobody has labelled.")
        if set(sizes) == {1}:
            text = "Every row has one label: a classification task says so, and its answers are one label each."
            yield note("one-label-in-each-row", text, len(sizes), cure="Choose it if no row can have several.")

    def _everywhere(
        self, splits: Mapping[str, Sequence[Any]], counts: Mapping[str, Mapping[str, int]]
    ) -> Iterable[Finding]:
        rows = len(splits["train"])
        found = [label for label, count in counts["train"].items() if count == rows]
        if found:
            more = f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else ""
            text = (
                f"Every training row has these labels, of which nothing can be learned: {', '.join(found[:EXAMPLES])}"
            )
            cure = "Remove them, or add rows without them."
            yield warning("labels-in-every-row", f"{text}{more}.", cure, len(found), found)
