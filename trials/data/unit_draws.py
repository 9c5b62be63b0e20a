"""Draws of rows by strata, exactly in proportion; rows with the same input are drawn together, as a unit.

`data.splits` calls `draw_units`. Inputs may be as many as rows, and most have one row; so units are drawn stratum by
stratum, in the time that drawing rows takes. `data.group_splits` is for fewer groups of more rows, whose labels differ.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.trials.data.group_splits import Key


def draw_units(
    strata: Mapping[Key, list[int]],
    keys: Sequence[Key],
    units: Sequence[list[int]],
    shares: Mapping[str, float],
    both_ends: bool,
) -> dict[str, list[int]]:
    """Draw sides unit by unit; "train" gets the rest, and a row of each stratum at least.

    A unit counts for the stratum that most of its rows are of. Each side takes the first units of each stratum that fit
    into its share, and one that goes beyond it where that comes nearer. Where inputs repeat, a side that got nothing
    takes the smallest unit that can be spared.

    Args:
        strata: Stratum -> its rows, in the order in which they are drawn.
        keys: The stratum of each row.
        units: The rows of each input that several rows have.
        shares: Side -> its share of all rows. Sides take the first units of each stratum, one side after another.
        both_ends: The second side takes the last units instead: then neither moves the other when rows are added.

    Returns:
        Side -> its row numbers, ascending. A side of `shares` is empty where units are too few.
    """
    deal = _Deal(strata, keys, units)
    count = sum(map(len, strata.values()))
    sides: dict[str, list[int]] = {}
    for name, share in shares.items():
        room = deal.room()
        wanted = min(max(1, round(share * count)), sum(room.values()))
        sides[name] = deal.take(apportion(room, wanted))
        if both_ends:
            deal.reverse()
    for side in [side for side, heads in sides.items() if units and not heads]:
        sides[side] = deal.spare([heads for heads in sides.values() if len(heads) > 1])
    sides["train"] = [head for heads in deal.left.values() for head in heads]
    return {name: deal.rows(heads) for name, heads in sides.items()}


class _Deal:
    """The units that no side has taken yet. A unit is named by one of its rows, its head.

    Attributes:
        left: Stratum -> the heads of its units, in the order in which they are drawn.
    """

    def __init__(self, strata: Mapping[Key, list[int]], keys: Sequence[Key], units: Sequence[list[int]]) -> None:
        self.left = dict(strata)
        self._units: dict[int, list[int]] = {}  # head -> its rows, where these are several
        self._sizes: dict[int, int] = {}
        if units:
            self._unite(keys, units)
        needed: dict[Key, int] = {}  # stratum that no unit counts for -> the smallest unit with a row of it
        missing = {key for key, heads in self.left.items() if not heads}
        for head in sorted(self._units, key=self.size) if missing else ():
            for key in missing.intersection(keys[row] for row in self._units[head]):
                needed.setdefault(key, head)
        self._kept = set(needed.values())  # training needs them

    def _unite(self, keys: Sequence[Key], units: Sequence[list[int]]) -> None:
        """Leave of each unit the first row of its stratum, which becomes its head."""
        of = [-1] * len(keys)  # the unit of each row, -1 for a row alone
        mine = [keys[unit[0]] for unit in units]
        for number, unit in enumerate(units):
            for row in unit:
                of[row] = number
            if len({keys[row] for row in unit}) > 1:
                mine[number] = _most_frequent(keys[row] for row in unit)
        placed = bytearray(len(units))
        for key, rows in self.left.items():
            self.left[key] = heads = []
            for row in rows:
                number = of[row]
                if number < 0:
                    heads.append(row)
                elif not placed[number] and mine[number] == key:
                    placed[number] = True
                    heads.append(row)
                    self._units[row] = units[number]
                    self._sizes[row] = len(units[number])

    def rows(self, heads: Iterable[int]) -> list[int]:
        """Return the rows of some units, ascending."""
        if not self._units:
            return sorted(heads)
        return sorted(row for head in heads for row in self._units.get(head, (head,)))

    def size(self, head: int) -> int:
        """Return the number of rows of a unit."""
        return self._sizes.get(head, 1)

    def reverse(self) -> None:
        """Turn the order of the units around."""
        self.left = {key: heads[::-1] for key, heads in self.left.items()}

    def room(self) -> dict[Key, int]:
        """Return stratum -> the most rows that may be taken of it: all but those of its smallest unit."""
        if not self._units:
            return {key: len(heads) - 1 for key, heads in self.left.items()}
        sizes = {key: list(map(self.size, heads)) for key, heads in self.left.items()}
        return {key: sum(numbers) - min(numbers, default=0) for key, numbers in sizes.items()}

    def take(self, quotas: Mapping[Key, int]) -> list[int]:
        """Take units of about as many rows as the quotas say, never the last of a stratum, and return their heads."""
        taken: list[int] = []
        missing: dict[Key, int] = {}
        for key, quota in quotas.items():
            missing[key] = quota - self._fill(key, quota, taken)
        lacking = sum(missing.values())
        for key in sorted(missing, key=lambda key: -missing[key]):
            if lacking <= 0:
                break
            most = 2 * min(lacking, missing[key])  # so many rows more bring stratum and side nearer to their share
            heads = self.left[key]
            head = next((head for head in heads if self.size(head) <= most and head not in self._kept), None)
            if head is not None and len(heads) > 1:
                heads.remove(head)
                taken.append(head)
                lacking -= self.size(head)
        return taken

    def _fill(self, key: Key, quota: int, taken: list[int]) -> int:
        """Take the first units of a stratum that fit into a quota, and return how many rows they have."""
        heads, left, filled = self.left[key], list[int](), 0
        if not self._units:
            taken += heads[:quota]
            self.left[key] = heads[quota:]
            return quota
        remaining = len(heads)
        for place, head in enumerate(heads):
            if filled == quota:
                left += heads[place:]
                break
            size = self.size(head)
            if filled + size <= quota and remaining > 1 and head not in self._kept:
                taken.append(head)
                filled += size
                remaining -= 1
            else:
                left.append(head)
        self.left[key] = left
        return filled

    def spare(self, others: Sequence[list[int]]) -> list[int]:
        """Take the smallest unit that training can spare, else one of a side with several; none if there is none."""
        inside = [heads for heads in self.left.values() if len(heads) > 1]
        for sources in (inside, others):
            found = [(self.size(head), heads, head) for heads in sources for head in heads if head not in self._kept]
            if found:
                _, heads, head = min(found, key=lambda triple: triple[0])
                heads.remove(head)
                return [head]
        return []


def _most_frequent(keys: Iterable[Key]) -> Key:
    """Return the most frequent key; of several always the same one."""
    counts = Counter(keys)
    return min(counts, key=lambda key: (-counts[key], str(key)))


def apportion(sizes: Mapping[Any, int], count: int, least: int = 0) -> dict[Any, int]:
    """Share out `count` rows among strata in proportion to their sizes, by the method of largest remainders.

    Args:
        sizes: Stratum -> its rows, the most that it can get.
        count: Rows to share out, at most all of them.
        least: Rows that each stratum gets, as far as it has them.

    Returns:
        Stratum -> its quota; the quotas add up to `count`.
    """
    total = sum(sizes.values())
    exact = {key: count * size / total if total else 0.0 for key, size in sizes.items()}
    quotas = {key: min(max(least, int(exact[key])), size) for key, size in sizes.items()}
    order = sorted(sizes, key=lambda key: quotas[key] - exact[key])  # the largest remainder first
    while (missing := count - sum(quotas.values())) != 0:
        sign = 1 if missing > 0 else -1
        able = [key for key in order[::sign] if (quotas[key] < sizes[key] if sign > 0 else quotas[key] > least)]
        for key in able[: abs(missing)]:
            quotas[key] += sign
    return quotas
