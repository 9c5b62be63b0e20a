"""What a column of somebody's table seems to hold, by its values: texts, numbers, labels, paths of images, chats.

`guesses` asks it to tell a task from a table. A first spec is guessed by it, which a person reads.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from statistics import fmean
from typing import Any, Literal

from luthier.trials.data.media_tree import SUFFIXES
from luthier.trials.data.tabular import Table

Kind = Literal["text", "number", "list", "messages", "objects", "answers", "image", "audio", "other"]
LOOKED_AT = 5_000
"""Values of a column that its kind is told by, spread over all rows."""
MOST_CLASSES = 100
SMALL_SHARE = 0.2
"""A column whose different values are at most this share of the rows may be one of classes."""
OF_ITS_OWN = 0.8
"""Share of different values from which a column holds a text of its own in each row."""
SEPARATORS = ("|", ";", ",")
SEPARATED_SHARE, LONGEST_LABEL = 0.1, 4
"""Several labels in one text: in at least this share of the rows, none of more words than this."""
_ID = re.compile(r"(^|[^a-z])(id|idx|index|key|nr|no)([^a-z]|$)|[a-z]I[dD]$|^unnamed", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Column:
    """A column of a table, as it seems.

    Attributes:
        name: Its own.
        kind: What its values are; of cells of a text file also "number".
        values: Those that are not empty.
        different: Different ones among them; 0 for values that are no texts and no numbers.
        words: Words of a text, on average.
        missing: Empty cells.
    """

    name: str
    kind: Kind
    values: Sequence[Any]
    different: int
    words: float
    missing: int

    @classmethod
    def of(cls, table: Table, name: str) -> "Column":
        """Look at a column that the table was read with."""
        cells = table.columns[name]
        values = [value for value in cells if value is not None and value != ""]
        kind = _kind(values[:: max(1, len(values) // LOOKED_AT)])
        plain = values if kind in ("text", "number") else []
        words = fmean(len(str(value).split()) for value in plain) if plain else 0.0
        return cls(name, kind, values, len({str(value) for value in plain}), words, len(cells) - len(values))

    @property
    def is_of_classes(self) -> bool:
        """Whether few values come again and again."""
        few = max(2, min(MOST_CLASSES, len(self.values) * SMALL_SHARE))
        return self.kind in ("text", "number") and 2 <= self.different <= few

    @property
    def is_measured(self) -> bool:
        """Whether it holds numbers with fractions, or more different ones than classes would have."""
        return self.kind == "number" and (not self.is_of_classes or any(not _is_whole(value) for value in self.values))

    @property
    def is_counter(self) -> bool:
        """Whether it numbers the rows, or names each by a word: an id."""
        if not self.values or self.different < len(self.values):
            return False
        if self.kind != "number":
            return self.words <= 1
        if not all(map(_is_whole, self.values)):
            return False
        numbers = [float(value) for value in self.values]
        return _ID.search(self.name) is not None or max(numbers) - min(numbers) < len(numbers)

    @property
    def is_of_texts(self) -> bool:
        """Whether it holds texts that hardly ever come again."""
        return self.kind == "text" and self.different >= OF_ITS_OWN * len(self.values) and not self.is_counter

    @property
    def separator(self) -> str | None:
        """What separates several labels in one text; None where each is one label."""
        if self.kind != "text":
            return None
        for separator in SEPARATORS:
            rows = [[part.strip() for part in str(value).split(separator)] for value in self.values]
            several = sum(len(row) > 1 for row in rows)
            labels = {part for row in rows for part in row if part}
            short = all(len(label.split()) <= LONGEST_LABEL for label in labels)
            if several >= SEPARATED_SHARE * len(rows) and several and short and len(labels) <= MOST_CLASSES:
                return separator
        return None

    def shares(self) -> list[tuple[str, float]]:
        """Return its values with their shares, the most frequent first."""
        counts = Counter(str(value) for value in self.values)
        return [(value, count / len(self.values)) for value, count in counts.most_common()]


def _is_whole(value: Any) -> bool:
    try:
        return float(value) == int(float(value))
    except (ValueError, OverflowError):  # a word among numbers, an infinite one
        return False


def _kind(values: Sequence[Any]) -> Kind:
    if not values:
        return "other"
    if all(isinstance(value, str) for value in values):
        return _kind_of_texts(values)
    if all(isinstance(value, bool | int | float) for value in values):
        return "number"
    if all(isinstance(value, dict) for value in values):
        return _kind_of_records(values)
    if all(isinstance(value, list | tuple) for value in values):
        inner = [item for value in values for item in value]
        if inner and all(isinstance(item, dict) for item in inner):
            return _kind_of_inner({key for item in inner for key in item})
        return "list"
    return "other"


def _kind_of_texts(values: Sequence[str]) -> Kind:
    if all(_NUMBER.fullmatch(value.strip()) for value in values):
        return "number"
    for kind in ("image", "audio"):
        if all(PurePath(value.strip()).suffix.lower() in SUFFIXES[kind] for value in values):
            return kind
    return "text"


def _kind_of_inner(keys: set[str]) -> Kind:
    """Return what lists of records with these keys are."""
    if {"role", "content"} <= keys or {"from", "value"} <= keys:
        return "messages"
    if {"text", "answer_start"} <= keys:
        return "answers"
    return "objects" if "bbox" in keys else "other"


def _kind_of_records(values: Sequence[dict[str, Any]]) -> Kind:
    keys = {key for value in values for key in value}
    if {"text", "answer_start"} <= keys:
        return "answers"
    if keys & {"bbox", "bboxes"}:
        return "objects"
    if {"bytes", "path"} & keys:
        sounds = any("sampling_rate" in value or _suffix(value) in SUFFIXES["audio"] for value in values)
        return "audio" if sounds else "image"
    return "other"


def _suffix(value: dict[str, Any]) -> str:
    return PurePath(str(value.get("path") or "")).suffix.lower()
