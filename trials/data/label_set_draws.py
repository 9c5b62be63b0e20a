"""Draws of rows with any number of labels by iterative stratification: each split gets its share of each.

`data.splits` calls `draw_label_sets` (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label
data", algorithm 1). The rarest label is shared out first, because it can be put right last. Rows with the same input
are one item and stay together. scikit-multilearn's version keeps no rows together and promises no label to training.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from luthier.trials.data.group_splits import LabelSet


def draw_label_sets(
    sets: Sequence[LabelSet], units: Sequence[list[int]], shares: Mapping[str, float], seed: str
) -> dict[str, list[int]]:
    """Draw sides by iterative stratification; "train" gets the rest, and a row of each label at least.

    Args:
        sets: The labels of each row.
        units: The rows of each input that several rows have.
        shares: Side -> its share of the rows of every label; together below 1.
        seed: Another seed draws other rows.

    Returns:
        Side -> its row numbers, ascending. A side of `shares` is empty where the items are too few.
    """
    together = {row for unit in units for row in unit}
    items = [[row] for row in range(len(sets)) if row not in together] + [list(unit) for unit in units]
    random.Random(seed).shuffle(items)  # noqa: S311 - a reproducible split, not a secret
    deal = _Deal(items, [Counter(label for row in item for label in sets[row]) for item in items], shares)
    deal.cover()
    while deal.remaining:
        deal.share_out(min(deal.remaining, key=lambda label: (deal.remaining[label], label)))
    deal.share_out_rest()
    deal.fill_empty()
    return {side: sorted(row for item in held for row in items[item]) for side, held in deal.sides.items()}


class _Deal:
    """Items that go to sides, and what each side still wants of each label and of all rows.

    Attributes:
        remaining: Label -> the rows with it that no side has yet; labels without any are gone.
        sides: Side -> its items.
    """

    def __init__(self, items: Sequence[list[int]], labels: Sequence[Counter[int]], shares: Mapping[str, float]) -> None:
        self._sizes = [len(item) for item in items]
        self._labels = labels
        self.remaining: Counter[int] = Counter()
        for found in labels:
            self.remaining.update(found)
        self._holders: dict[int, list[int]] = {}  # label -> its items
        for item, found in enumerate(labels):
            for label in found:
                self._holders.setdefault(label, []).append(item)
        whole = {**shares, "train": 1 - sum(shares.values())}
        self._wanted = {
            side: {label: share * n for label, n in self.remaining.items()} for side, share in whole.items()
        }
        self._rows = {side: share * sum(self._sizes) for side, share in whole.items()}
        self._placed = [False] * len(items)
        self._needed: set[int] = set()  # items without which training would lack a label
        self.sides: dict[str, list[int]] = {side: [] for side in whole}

    def cover(self) -> None:
        """Put the smallest item of each label into training, the rarest label first."""
        for label in sorted(self.remaining, key=lambda label: (self.remaining[label], label)):
            if not any(item in self._needed for item in self._holders[label]):
                item = min(self._holders[label], key=self._sizes.__getitem__)
                self._needed.add(item)
                self._place(item, "train")

    def share_out(self, label: int) -> None:
        """Place every item of a label that no side has yet, each where the label is wanted most."""
        for item in self._holders[label]:
            if not self._placed[item]:
                self._place(item, max(self.sides, key=lambda side: (self._wanted[side][label], self._rows[side])))

    def share_out_rest(self) -> None:
        """Place the items without a label, the large ones first, each where rows are wanted most."""
        rest = [item for item, placed in enumerate(self._placed) if not placed]
        for item in sorted(rest, key=lambda item: -self._sizes[item]):
            self._place(item, max(self.sides, key=lambda side: self._rows[side]))

    def fill_empty(self) -> None:
        """Give each empty side the smallest item that training can spare, or none."""
        for side, held in self.sides.items():
            spare = [item for item in self.sides["train"] if item not in self._needed]
            if not held and side != "train" and spare:
                item = min(spare, key=self._sizes.__getitem__)
                self.sides["train"].remove(item)
                held.append(item)

    def _place(self, item: int, side: str) -> None:
        self._placed[item] = True
        self.sides[side].append(item)
        self._rows[side] -= self._sizes[item]
        for label, count in self._labels[item].items():
            self._wanted[side][label] -= count
            self.remaining[label] -= count
            if not self.remaining[label]:
                del self.remaining[label]
