"""Splits of grouped rows: whole groups are assigned, so that related rows lie on one side.

`data.splits` calls these functions with the groups, the strata and a seed, and they return row numbers. They never
split a group. A stratum is a class of rows that every side should get its share of, usually a label.
scikit-learn's StratifiedGroupKFold comes nearest, but it makes equal folds, not shares, promises no stratum to the
training side, and would be a heavy library to install on each worker.
"""

import random
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

from luthier.trials.data.row_digests import DIGEST_BYTES, row_digest

Key = Hashable
"""A stratum."""


class LabelSet(tuple[int, ...]):
    """The labels of a row that has any number of them: each is a stratum, and the row is of all of them."""

    __slots__ = ()


def single_keys(keys: Sequence[Key]) -> Sequence[Key]:
    """Return one stratum for each row: of a set of labels the one that is rarest over all rows, -1 of an empty set."""
    if not any(isinstance(key, LabelSet) for key in keys):
        return keys
    counts = count_keys(keys)
    return [
        min(key, key=lambda label: (counts[label], label), default=-1) if isinstance(key, LabelSet) else key
        for key in keys
    ]


def count_keys(keys: Iterable[Key]) -> Counter[Key]:
    """Return stratum -> its rows; a row with a set of labels counts for each of them, and as a row (-1)."""
    counts: Counter[Key] = Counter()
    for key in keys:
        counts.update((-1, *key) if isinstance(key, LabelSet) else (key,))
    return counts


class Quantile(int):
    """A stratum of numbers, from the smallest on. It is a class of nothing, so that a small sample may lack some."""


def assign_groups(
    groups: Sequence[str],
    keys: Sequence[Key],
    shares: Mapping[str, float],
    remainder: str,
    must_cover: str,
    seed: str,
) -> dict[str, list[int]]:
    """Assign whole groups to sides, so that the rows per stratum come as near to the shares as the groups allow.

    First the side `must_cover` gets a few small groups that together hold every stratum. Then each other group, the
    large ones first, goes to the side where it lowers the squared error most. Finally each empty side of `shares` takes
    the smallest group that another side can give up.

    Example: seven rows of the groups a, a, a, a, b, b, c and of the strata 0, 0, 0, 1, 0, 1, 0, with the shares
    {"test": 0.5}, and "train" as `remainder` and `must_cover`. Both a and b hold both strata; b is smaller and goes to
    "train". Of the strata's 5 and 2 rows each side should get 2.5 and 1. So a, with 3 and 1 rows, goes to "test", and
    c to "train": {"test": [0, 1, 2, 3], "train": [4, 5, 6]}.

    Args:
        groups: Each row's group.
        keys: Each row's stratum.
        shares: Side -> its share of the rows of every stratum; together at most 1.
        remainder: The side that gets what the shares leave.
        must_cover: The side, of `shares` or the remainder, that gets at least a row of every stratum.
        seed: Decides which of several equal assignments is taken.

    Returns:
        Side -> its row numbers, ascending. A side of `shares` is empty where the groups are too few.
    """
    members = shuffled_members(groups, seed)
    order = list(members)
    random.Random(seed).shuffle(order)  # noqa: S311 - a reproducible split, not a secret
    order.sort(key=lambda group: -len(members[group]).bit_length())  # large groups first; similar sizes in random order
    counts = {group: count_keys(keys[i] for i in members[group]) for group in order}
    totals = count_keys(keys)
    sides = _Sides(counts, totals, shares, remainder)
    covering = _covering(order[::-1], counts, totals)
    for group in covering:
        sides.add(group, must_cover)
    for group in order:
        if group not in covering:
            sides.add(group, sides.cheapest(group))
    _fill_empty(sides.groups, members, shares, remainder, covering)
    return {side: sorted(i for group in inside for i in members[group]) for side, inside in sides.groups.items()}


class _Sides:
    """The sides while groups are assigned to them: the groups of each, its rows per stratum, and its targets."""

    def __init__(
        self,
        counts: Mapping[str, Counter[Key]],
        totals: Counter[Key],
        shares: Mapping[str, float],
        remainder: str,
    ) -> None:
        """`counts`: group -> rows per stratum. `totals`: rows per stratum of all groups."""
        self._counts = counts
        self._totals = totals
        self._targets = {side: {key: share * n for key, n in totals.items()} for side, share in shares.items()}
        self._targets[remainder] = {
            key: n - sum(self._targets[side][key] for side in shares) for key, n in totals.items()
        }
        self._rows: dict[str, Counter[Key]] = {side: Counter() for side in self._targets}
        self.groups: dict[str, list[str]] = {side: [] for side in self._targets}

    def add(self, group: str, side: str) -> None:
        """Assign a group to a side."""
        self.groups[side].append(group)
        self._rows[side].update(self._counts[group])

    def cheapest(self, group: str) -> str:
        """Return the side where the group raises the error least; of equal ones the first."""
        return min(self._targets, key=lambda side: self._cost(group, side))

    def _cost(self, group: str, side: str) -> float:
        """Return the change of the sum over strata of ((rows - target) / all rows of the stratum) squared."""
        rows, targets = self._rows[side], self._targets[side]
        return sum(
            n * (2 * (rows[key] - targets[key]) + n) / self._totals[key] ** 2 for key, n in self._counts[group].items()
        )


def _fill_empty(
    sides: dict[str, list[str]],
    members: Mapping[str, list[int]],
    shares: Mapping[str, float],
    remainder: str,
    covering: Collection[str],
) -> None:
    """Give each empty side of `shares` the smallest group that another side can give up.

    A group that is needed to cover the strata stays, and so does the last group of a side other than the remainder.
    """
    for side in shares:  # a small share may have no group beside large groups
        if sides[side]:
            continue
        spare = {
            group: other
            for other, inside in sides.items()
            if other == remainder or len(inside) > 1
            for group in inside
            if group not in covering
        }
        if spare:
            group = min(spare, key=lambda group: len(members[group]))
            sides[spare[group]].remove(group)
            sides[side].append(group)


def assign_groups_by_name(
    groups: Sequence[str], keys: Sequence[Key], shares: Mapping[str, float], seed: str
) -> dict[str, list[int]]:
    """Assign whole groups to sides by a digest of their names, so that a group keeps its side as others are added.

    The digest places each group in [0, 1), of which every share takes an interval; "train" takes the rest. A few groups
    that together hold every stratum stay in "train" wherever they are placed.

    Args:
        groups: Each row's group.
        keys: Each row's stratum.
        shares: Side -> its share of the groups; together below 1.
        seed: Another seed places the groups otherwise.

    Returns:
        Side -> its row numbers, ascending; the sizes come near to the shares only where groups are many.
    """
    members = shuffled_members(groups, seed)
    place = {group: int.from_bytes(row_digest(group, seed)) / 256**DIGEST_BYTES for group in members}  # in [0, 1)
    order = sorted(members, key=lambda group: -place[group])
    counts = {group: count_keys(keys[i] for i in members[group]) for group in order}
    covering = _covering(order, counts, count_keys(keys))
    sides: dict[str, list[int]] = {}
    edge = 0.0
    for side, share in shares.items():
        inside = [group for group in order if edge <= place[group] < edge + share and group not in covering]
        sides[side] = sorted(i for group in inside for i in members[group])
        edge += share
    taken = {i for rows in sides.values() for i in rows}
    return sides | {"train": [i for i in range(len(groups)) if i not in taken]}


def _covering(order: Sequence[str], counts: Mapping[str, Counter[Key]], totals: Counter[Key]) -> set[str]:
    """Return groups that together hold every stratum: for each, the rarest first, the first group in `order`."""
    chosen: dict[str, None] = {}
    for key in sorted(totals, key=lambda key: totals[key]):
        if not any(counts[group][key] for group in chosen):
            chosen[next(group for group in order if counts[group][key])] = None
    return set(chosen)


def shuffled_members(keys: Sequence[Any], seed: str) -> dict[Any, list[int]]:
    """Return key -> its row numbers in a seeded random order; the keys are in the order of their first rows."""
    members: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        members.setdefault(key, []).append(i)
    draw = random.Random(seed)  # noqa: S311 - a reproducible split, not a secret
    for rows in members.values():
        draw.shuffle(rows)
    return members
