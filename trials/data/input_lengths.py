"""Lengths of a split's inputs before any is cut: what a `max_length` cuts, and the one that suits the data.

A task measures them in its `input_lengths`; the inspection resolves `max_length: auto` by them, and a trial's log says
what its own `max_length` cuts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

MEASURED = 10_000
"""The most rows of a split that are measured; of more, rows at equal distances: a share is known to half a percent."""
SUITED = 95
"""Percentile of the lengths that `auto` takes."""
LEAST = 2
"""The least `max_length` that there is."""


@dataclass(frozen=True)
class Unit:
    """What lengths are counted in.

    Attributes:
        name: For people.
        step: `auto` is a multiple of it, but where that would be longer than every input.
        most: The highest `auto` for a model without a limit of its own: time and memory grow with the length.
    """

    name: str
    step: int
    most: int


TOKENS = Unit("tokens", 8, 8_192)
MILLISECONDS = Unit("ms", 100, 30_000)


@dataclass(frozen=True)
class InputLengths:
    """The lengths of a training split's inputs for one model.

    Attributes:
        lengths: (rows measured,) of whole inputs, with the tokens that the model adds.
        rows: (rows measured,) their numbers in the split.
        total: Rows of the split.
        unit: Of the lengths.
        noun: What an input is, for people; its plural has an s.
        limit: The longest input that the model takes; None: any.
        empty: Numbers of measured rows that become no token.
        kept_whole: What is cut off becomes an input of its own: nothing is lost but its context.
        beyond: The sentence that says so, after a blank.
        learned: (rows measured,) the least `max_length` at which nothing that is learned from a row is cut; None: what
            is learned is no part of the input.
    """

    lengths: numpy.ndarray
    rows: Sequence[int]
    total: int
    unit: Unit
    noun: str
    limit: int | None = None
    empty: Sequence[int] = ()
    kept_whole: bool = False
    beyond: str = " What is beyond becomes an input of its own: all words count in the scores, without that context."
    learned: numpy.ndarray | None = None

    @property
    def longest(self) -> int:
        """The longest length."""
        return int(self.lengths.max())

    def percentile(self, percent: float) -> int:
        """Return the least length that so many percent of the inputs do not exceed."""
        return int(numpy.percentile(self.lengths, percent, method="inverted_cdf"))

    def share_cut(self, max_length: int) -> float:
        """Return the share of the inputs that are longer than a `max_length`, or than the model takes."""
        return float((self.lengths > self.taken(max_length)).mean())

    def count_cut(self, max_length: int) -> int:
        """Return how many of the split's inputs that are; an estimate where not all are measured."""
        return round(self.share_cut(max_length) * self.total)

    def count_shortened(self, max_length: int) -> int:
        """Return for how many of the split's inputs what is learned is cut, too; an estimate as `count_cut` is."""
        if self.learned is None:
            return 0
        return round(float((self.learned > self.taken(max_length)).mean()) * self.total)

    def taken(self, max_length: int) -> int:
        """Return the longest input that goes into the model as a whole."""
        return max_length if self.limit is None else min(max_length, self.limit)

    @property
    def suited(self) -> int:
        """The length that `max_length: auto` stands for: all but 5 % of the inputs are no longer, if the model can.

        It is rounded up to the unit's step, but is no longer than every input, nor than the model takes.
        """
        wanted = -(-self.percentile(SUITED) // self.unit.step) * self.unit.step
        return max(LEAST, min(wanted, self.longest, self.limit or self.unit.most))

    def told(self, max_length: int) -> str:
        """Return the line of a trial's log that says what its `max_length` cuts."""
        share = self.share_cut(max_length)
        limit = f" (the model takes {self.limit})" if self.taken(max_length) < max_length else ""
        amount = f"{percent(share)} of the training inputs are" if share else "none of the training inputs is"
        done = "divided into several" if self.kept_whole else "cut"
        shortened = self.count_shortened(max_length)
        learned = f"; of {shortened:,} what is learned loses its end" if shortened else ""
        return f"max_length {max_length}{limit}: {amount} {done}{learned}"


def measured_rows(total: int) -> Sequence[int]:
    """Return the numbers of the rows of a split to measure."""
    return range(total) if total <= MEASURED else [i * total // MEASURED for i in range(MEASURED)]


def percent(share: float) -> str:
    """Return a share as people write it, never rounded to none or to all."""
    if 0 < share < 0.0005:
        return "less than 0.1 %"
    if 0.9995 <= share < 1:
        return "more than 99.9 %"
    return f"{100 * share:.1f} %"
