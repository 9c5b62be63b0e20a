"""Splits of a study's examples, drawn by seed: stratified by label, and related rows on one side.

Without groups each label is shared out exactly (largest remainders). With them whole groups are dealt, largest first,
each to the side whose labels are then nearest to what is wanted: the sizes are as near as the groups allow.

A stable draw orders rows and groups by their content instead of by chance. So a row keeps its side when others are
added, but for the few at the edge of a share, and a model of last month was not trained on the test rows of today.
"""

import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.studies.dataset import Dataset
from luthier.trials.data.row_digests import DIGEST_BYTES, row_digest, row_digests
from luthier.trials.errors import BadData

Key = Hashable


@dataclass(frozen=True)
class Split:
    """Examples in the order of their source: role -> values, and each one's class id (a list of them where every token
    has one). Rows with the same value in `groups` are related; it is no input of the model."""

    columns: Mapping[str, list[Any]]
    labels: list[Any]
    groups: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Sequence[int]) -> "Split":
        columns = {role: [values[i] for i in rows] for role, values in self.columns.items()}
        groups = None if self.groups is None else [self.groups[i] for i in rows]
        return Split(columns, [self.labels[i] for i in rows], groups)

    @property
    def strata(self) -> list[int]:
        """What each row counts as when splits are drawn: its label; of labelled tokens the most frequent but 0."""
        return [_most_frequent(label) if isinstance(label, list) else label for label in self.labels]


def _most_frequent(labels: Sequence[int]) -> int:
    counts = Counter(label for label in labels if label)
    return min(counts, key=lambda label: (-counts[label], label)) if counts else 0


def sample(given: Mapping[str, Split], limit: int, seed: int, by_content: bool = False) -> dict[str, Split]:
    """A sample of `limit` rows over all splits together, with the same share of every label of every split.

    Whole groups are taken where rows are grouped: about `limit` rows then. `by_content`: the same rows again when
    others were added, as far as they still fit. Raises BadData.
    """
    keys = [(name, stratum) for name, split in given.items() for stratum in split.strata]
    if limit >= len(keys):
        return dict(given)
    if limit < len(set(keys)):
        text = f"{limit} rows cannot hold each of the {len(set(keys))} labels of each split; raise the limit."
        raise BadData(text, "dataset", "limit")
    if any(split.groups is not None for split in given.values()):
        groups = [group for split in given.values() for group in split.groups or ()]
        chosen = _deal(groups, keys, {"kept": limit / len(keys)}, "dropped", "kept", f"{seed}:limit")["kept"]
    else:
        strata = _shuffled(keys, f"{seed}:limit")
        if by_content:
            place = [row_digest for split in given.values() for row_digest in row_digests(split.columns, f"{seed}")]
            strata = {key: sorted(rows, key=place.__getitem__) for key, rows in strata.items()}
        quotas = _apportion({key: len(rows) for key, rows in strata.items()}, limit, least=1)
        chosen = sorted(i for key, rows in strata.items() for i in rows[: quotas[key]])
    sampled, offset = {}, 0
    for name, split in given.items():
        sampled[name] = split.take([i - offset for i in chosen if offset <= i < offset + len(split)])
        offset += len(split)
    return sampled


def draw_splits(given: Mapping[str, Split], dataset: Dataset, seed: int) -> dict[str, Split]:
    """Draw the splits that are not given from the training rows; every class keeps a row to train on.

    Raises BadData where rows or groups are too few.
    """
    pool = given["train"]
    shares = {
        name: share
        for name, share in (("test", dataset.test), ("validation", dataset.validation))
        if name not in given and not isinstance(share, str) and share > 0
    }
    if pool.groups is None:
        strata, by_content = _shuffled(pool.strata, f"{seed}:split"), dataset.draw == "stable"
        if by_content:
            place = row_digests(pool.columns, f"{seed}")
            strata = {key: sorted(rows, key=place.__getitem__) for key, rows in strata.items()}
        rows = _draw_rows(strata, shares, both_ends=by_content)
    elif dataset.draw == "stable":
        rows = _deal_by_name(pool.groups, pool.strata, shares, f"{seed}")
    else:
        rows = _deal(pool.groups, pool.strata, shares, "train", "train", f"{seed}:split")
    for name in shares:
        if not rows[name]:
            count = f"{len(pool)} rows" if pool.groups is None else f"{len(set(pool.groups))} groups"
            text = f"{count} are too few to draw a {name} split from; add rows or give it a file."
            raise BadData(text, "dataset", name)
    splits = {name: split for name, split in given.items() if name != "train"}
    splits |= {name: pool.take(chosen) for name, chosen in rows.items()}
    return {name: splits[name] for name in ("train", "validation", "test") if name in splits}


def _draw_rows(strata: dict[Key, list[int]], shares: Mapping[str, float], both_ends: bool) -> dict[str, list[int]]:
    """Side -> its rows, ascending; what no share takes is "train", and a row of each stratum at least.

    Shares take the first rows of each stratum. With `both_ends` the second takes the last: neither moves the other.
    """
    count, sides = sum(map(len, strata.values())), dict[str, list[int]]()
    for name, share in shares.items():
        room = {key: len(rows) - 1 for key, rows in strata.items()}
        quotas = _apportion(room, min(max(1, round(share * count)), sum(room.values())))
        sides[name] = sorted(i for key, rows in strata.items() for i in rows[: quotas[key]])
        strata = {key: rows[quotas[key] :][:: -1 if both_ends else 1] for key, rows in strata.items()}
    return sides | {"train": sorted(i for rows in strata.values() for i in rows)}


def _deal_by_name(
    groups: Sequence[str], keys: Sequence[Key], shares: Mapping[str, float], seed: str
) -> dict[str, list[int]]:
    """Side -> its rows, ascending: a group's name alone decides. Training keeps a row of each stratum."""
    members = _shuffled(groups, seed)
    place = {group: int.from_bytes(row_digest(group, seed)) / 256**DIGEST_BYTES for group in members}  # in [0, 1)
    order = sorted(members, key=lambda group: -place[group])
    counts = {group: Counter(keys[i] for i in members[group]) for group in order}
    kept, sides, edge = _covering(order, counts, Counter(keys)), dict[str, list[int]](), 0.0
    for name, share in shares.items():
        inside = [group for group in order if edge <= place[group] < edge + share and group not in kept]
        sides[name] = sorted(i for group in inside for i in members[group])
        edge += share
    taken = {i for rows in sides.values() for i in rows}
    return sides | {"train": [i for i in range(len(groups)) if i not in taken]}


def _deal(
    groups: Sequence[str], keys: Sequence[Key], shares: Mapping[str, float], rest: str, whole: str, seed: str
) -> dict[str, list[int]]:
    """Side -> its rows, ascending: whole groups, dealt to `shares` and the `rest`. Side `whole` gets every stratum."""
    members = _shuffled(groups, seed)
    order = list(members)
    random.Random(seed).shuffle(order)  # noqa: S311 - a reproducible split, not a secret
    order.sort(key=lambda group: -len(members[group]).bit_length())  # large ones first; alike in size by chance
    counts = {group: Counter(keys[i] for i in members[group]) for group in order}
    totals = Counter(keys)
    wanted = {name: {key: share * n for key, n in totals.items()} for name, share in shares.items()}
    wanted[rest] = {key: n - sum(wanted[name][key] for name in shares) for key, n in totals.items()}
    sides: dict[str, list[str]] = {name: [] for name in wanted}
    have: dict[str, Counter[Key]] = {name: Counter() for name in wanted}

    def put(group: str, name: str) -> None:
        sides[name].append(group)
        have[name].update(counts[group])

    def cost(group: str, name: str) -> float:
        """Change of the sum over strata of ((rows - wanted rows) / all rows of the stratum) squared."""
        return sum(
            n * (2 * (have[name][key] - wanted[name][key]) + n) / totals[key] ** 2 for key, n in counts[group].items()
        )

    kept = _covering(order[::-1], counts, totals)
    for group in kept:
        put(group, whole)
    for group in order:
        if group not in kept:
            put(group, min(wanted, key=lambda name: cost(group, name)))
    for name in shares:  # a small share may have got nothing beside large groups
        spare = [
            g for other in sides for g in sides[other] if g not in kept and (other == rest or len(sides[other]) > 1)
        ]
        if not sides[name] and spare:
            group = min(spare, key=lambda g: len(members[g]))
            next(found for found in sides.values() if group in found).remove(group)
            sides[name].append(group)
    return {name: sorted(i for group in found for i in members[group]) for name, found in sides.items()}


def _covering(order: Sequence[str], counts: Mapping[str, Counter[Key]], totals: Counter[Key]) -> set[str]:
    """Groups that together hold every stratum, rarest stratum first."""
    chosen: dict[str, None] = {}
    for key in sorted(totals, key=lambda key: totals[key]):
        if not any(counts[group][key] for group in chosen):
            chosen[next(group for group in order if counts[group][key])] = None
    return set(chosen)


def _shuffled(keys: Sequence[Any], seed: str) -> dict[Any, list[int]]:
    """Key -> its rows in a seeded random order; keys in the order of their first row."""
    found: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    draw = random.Random(seed)  # noqa: S311 - a reproducible split, not a secret
    for rows in found.values():
        draw.shuffle(rows)
    return found


def _apportion(sizes: Mapping[Any, int], count: int, least: int = 0) -> dict[Any, int]:
    """Share `count` among strata in proportion to their sizes (largest remainders), each at least `least`."""
    total = sum(sizes.values())
    exact = {key: count * size / total if total else 0.0 for key, size in sizes.items()}
    quotas = {key: min(max(least, int(exact[key])), size) for key, size in sizes.items()}
    order = sorted(sizes, key=lambda key: quotas[key] - exact[key])  # the most wronged first; ties as they come
    while (missing := count - sum(quotas.values())) != 0:
        sign = 1 if missing > 0 else -1
        able = [key for key in order[::sign] if (quotas[key] < sizes[key] if sign > 0 else quotas[key] > least)]
        for key in able[: abs(missing)]:
            quotas[key] += sign
    return quotas
