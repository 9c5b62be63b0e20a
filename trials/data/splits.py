"""Splits of a study's examples, drawn by seed: stratified by what is learned, and related rows on one side.

`load_data` samples with `sample` and draws the splits that are not given with `draw_splits`; nothing here reads a file.
Without groups the rows of each stratum (a label, say) are shared out exactly (largest remainders). With groups,
`data.group_splits` assigns whole groups: the sizes come as near to the shares as the groups allow.

A stable draw orders rows and groups by their content instead of by chance. So a row keeps its side when others are
added, except a few at the edge of a share, and last month's model was not trained on today's test rows.

scikit-learn's StratifiedShuffleSplit is not used: it keeps no groups together, has no stable draw, refuses a class of
one row, and would be a heavy library to install on each worker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.studies.dataset import Dataset
from luthier.trials.data.group_splits import Key, assign_groups, assign_groups_by_name, shuffled_members
from luthier.trials.data.row_digests import row_digests
from luthier.trials.errors import BadData


@dataclass(frozen=True)
class Split:
    """Examples in the order of their source.

    Attributes:
        columns: Role -> one value per row.
        targets: What is learned from each row, as the task's `Targets` has read it.
        groups: The group of each row; rows of one group are related. It is no input of the model.
        strata: The stratum of each row, of which every split gets its share; None: all rows are alike.
    """

    columns: Mapping[str, list[Any]]
    targets: list[Any]
    groups: list[str] | None = None
    strata: list[Key] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.targets)

    def take(self, rows: Sequence[int]) -> "Split":
        """Return the rows with these numbers, in their order."""
        columns = {role: [values[i] for i in rows] for role, values in self.columns.items()}
        groups = None if self.groups is None else [self.groups[i] for i in rows]
        strata = None if self.strata is None else [self.strata[i] for i in rows]
        return Split(columns, [self.targets[i] for i in rows], groups, strata)

    @property
    def keys(self) -> list[Key]:
        """The stratum of each row; the same one for all where rows are alike."""
        return [0] * len(self) if self.strata is None else self.strata


def sample(given: Mapping[str, Split], limit: int, seed: int, by_content: bool = False) -> dict[str, Split]:
    """Draw a sample over all splits together, with the same share of every label of every split.

    Args:
        given: Split name -> its rows.
        limit: Rows of the sample. Whole groups are taken where rows are grouped: about `limit` rows then.
        seed: Another seed draws other rows.
        by_content: Draw the same rows again when others were added, as far as they still fit.

    Returns:
        Split name -> the sampled rows, in their order.

    Raises:
        BadData: The limit is too small to hold each label of each split.
    """
    keys = [(name, stratum) for name, split in given.items() for stratum in split.keys]
    if limit >= len(keys):
        return dict(given)
    if limit < len(set(keys)):
        text = f"{limit} rows cannot hold each of the {len(set(keys))} labels of each split; raise the limit."
        raise BadData(text, "dataset", "limit")
    if any(split.groups is not None for split in given.values()):
        groups = [group for split in given.values() for group in split.groups or ()]
        shares = {"kept": limit / len(keys)}
        sides = assign_groups(groups, keys, shares, remainder="dropped", must_cover="kept", seed=f"{seed}:limit")
        chosen = sides["kept"]
    else:
        strata = shuffled_members(keys, f"{seed}:limit")
        if by_content:
            place = [digest for split in given.values() for digest in row_digests(split.columns, f"{seed}")]
            strata = {key: sorted(rows, key=place.__getitem__) for key, rows in strata.items()}
        quotas = _apportion({key: len(rows) for key, rows in strata.items()}, limit, least=1)
        chosen = sorted(i for key, rows in strata.items() for i in rows[: quotas[key]])
    sampled: dict[str, Split] = {}
    offset = 0
    for name, split in given.items():
        sampled[name] = split.take([i - offset for i in chosen if offset <= i < offset + len(split)])
        offset += len(split)
    return sampled


def draw_splits(given: Mapping[str, Split], dataset: Dataset, seed: int) -> dict[str, Split]:
    """Draw the splits that are not given from the training rows; every class keeps a row to train on.

    Args:
        given: Split name -> its rows; "train" is there.
        dataset: Its `validation` and `test` are the shares of the training rows, `draw` the kind of draw.
        seed: Another seed draws other rows.

    Returns:
        The splits in the order train, validation, test. A share of 0 draws no split.

    Raises:
        BadData: Rows or groups are too few for a share.
    """
    pool = given["train"]
    shares = {
        name: share
        for name, share in (("test", dataset.test), ("validation", dataset.validation))
        if name not in given and not isinstance(share, str) and share > 0
    }
    stable = dataset.draw == "stable"
    if pool.groups is None:
        strata = shuffled_members(pool.keys, f"{seed}:split")
        if stable:
            place = row_digests(pool.columns, f"{seed}")
            strata = {key: sorted(rows, key=place.__getitem__) for key, rows in strata.items()}
        sides = _draw_rows(strata, shares, both_ends=stable)
    elif stable:
        sides = assign_groups_by_name(pool.groups, pool.keys, shares, f"{seed}")
    else:
        sides = assign_groups(pool.groups, pool.keys, shares, "train", "train", f"{seed}:split")
    for name in shares:
        if not sides[name]:
            count = f"{len(pool)} rows" if pool.groups is None else f"{len(set(pool.groups))} groups"
            text = f"{count} are too few to draw a {name} split from; add rows or give it a file."
            raise BadData(text, "dataset", name)
    splits = {name: split for name, split in given.items() if name != "train"}
    splits |= {name: pool.take(rows) for name, rows in sides.items()}
    return {name: splits[name] for name in ("train", "validation", "test") if name in splits}


def _draw_rows(strata: dict[Key, list[int]], shares: Mapping[str, float], both_ends: bool) -> dict[str, list[int]]:
    """Draw sides row by row; "train" gets the rest, and a row of each stratum at least.

    Args:
        strata: Stratum -> its rows, in the order in which they are drawn.
        shares: Side -> its share of all rows. Sides take the first rows of each stratum, one side after another.
        both_ends: The second side takes the last rows instead: then neither side moves the other when rows are added.

    Returns:
        Side -> its row numbers, ascending.
    """
    count = sum(map(len, strata.values()))
    sides: dict[str, list[int]] = {}
    for name, share in shares.items():
        room = {key: len(rows) - 1 for key, rows in strata.items()}
        quotas = _apportion(room, min(max(1, round(share * count)), sum(room.values())))
        sides[name] = sorted(i for key, rows in strata.items() for i in rows[: quotas[key]])
        strata = {key: rows[quotas[key] :][:: -1 if both_ends else 1] for key, rows in strata.items()}
    return sides | {"train": sorted(i for rows in strata.values() for i in rows)}


def _apportion(sizes: Mapping[Any, int], count: int, least: int = 0) -> dict[Any, int]:
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
