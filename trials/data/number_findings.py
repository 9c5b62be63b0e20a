"""Findings about numbers that are to be learned: outliers, few different ones, splits that cannot be scored.

`Numbers.findings` calls `number_findings` at a study's inspection.
"""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from luthier.studies.findings import EXAMPLES, Finding, note, warning

FAR = 10.0
"""How many times the range between the quartiles an outlier lies beyond them."""
CLASSES = 5
"""So few different numbers are rather classes."""
LEAST_ROWS = 20
"""Fewer rows tell nothing about what is usual."""

Rows = Mapping[str, Sequence[float]]  # split -> its numbers


def number_findings(splits: Rows) -> list[Finding]:
    """Return what is remarkable about a study's numbers.

    Args:
        splits: Split -> its numbers, in the order train, validation, test.
    """
    return [*_outliers(splits), *_few(splits), *_constant(splits), *_beyond(splits)]


def _outliers(splits: Rows) -> Iterator[Finding]:
    train = splits["train"]
    if len(train) < LEAST_ROWS:
        return
    low, middle, high = statistics.quantiles(train, n=4)
    reach = FAR * ((high - low) or statistics.pstdev(train))
    every = Counter(number for numbers in splits.values() for number in numbers)
    far = sorted((n for n in every if n < low - reach or n > high + reach), key=lambda n: -abs(n - middle))
    if far:
        shown = [f"{number:g} ({every[number]})" for number in far[:EXAMPLES]]
        more = f" and {len(far) - EXAMPLES} more" if len(far) > EXAMPLES else ""
        yield warning(
            "number-outliers",
            f"Some numbers are far from the others, half of which lie between {low:g} and {high:g} (number of rows): "
            f"{', '.join(shown)}{more}. One of them can weigh as much as all the rest.",
            "Correct or remove them; a number that stands for a missing one (-999, say) is no number. If they are "
            "right, learn the logarithm.",
            sum(every[number] for number in far),
            shown,
        )


def _few(splits: Rows) -> Iterator[Finding]:
    different = sorted({number for numbers in splits.values() for number in numbers})
    if len(different) <= CLASSES and sum(map(len, splits.values())) >= LEAST_ROWS:
        told = ", ".join(f"{number:g}" for number in different)
        text = f"There are only {len(different)} different numbers: {told}."
        cure = "If they name classes, choose a classification task; a number says that 2 lies between 1 and 3."
        yield note("few-numbers", text, len(different), different, cure)


def _constant(splits: Rows) -> Iterator[Finding]:
    for split in ("validation", "test"):
        if len(set(splits.get(split, ()))) == 1:
            yield warning(
                f"one-number-in-{split}",
                f"All rows of the {split} split have the number {splits[split][0]:g}: correlations and r2 are "
                "undefined there.",
                f"Give it rows of several numbers, as a file or by a larger share (dataset.{split}).",
                len(splits[split]),
            )


def _beyond(splits: Rows) -> Iterator[Finding]:
    low, high = min(splits["train"]), max(splits["train"])
    for split in ("validation", "test"):
        beyond = [number for number in splits.get(split, ()) if not low <= number <= high]
        if len(beyond) > len(splits.get(split, ())) / 10:
            yield note(
                f"numbers-beyond-training-in-{split}",
                f"{len(beyond):,} of {len(splits[split]):,} numbers of the {split} split lie outside of those of the "
                f"training split, {low:g} to {high:g}: models guess them badly.",
                len(beyond),
                sorted(beyond),
                "Add training rows with such numbers.",
            )
