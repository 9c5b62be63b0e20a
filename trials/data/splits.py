"""Splits of a study's examples, drawn by seed: stratified by what is learned, and related rows on one side.

`load_data` samples with `sample` and draws the splits that are not given with `draw_splits`; nothing here reads a file.
Without groups the rows of each stratum (a label, say) are shared out exactly (largest remainders), those with the same
input on one side. With groups, `data.group_splits` assigns whole groups: the sizes come as near to the shares as the
groups allow.

A stable draw orders rows and groups by their content instead of by chance. So a row keeps its side when others are
added, except a few at the edge of a share, and last month's model was not trained on today's test rows.

scikit-learn's StratifiedShuffleSplit is not used: it keeps no groups together, has no stable draw, refuses a class of
one row, and would be a heavy library to install on each worker.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from luthier.studies.dataset import Dataset
from luthier.trials.data.group_splits import (
    Key,
    LabelSet,
    Quantile,
    assign_groups,
    assign_groups_by_name,
    shuffled_members,
    single_keys,
)
from luthier.trials.data.label_set_draws import draw_label_sets
from luthier.trials.data.repeats import Numbers, joined_groups, noun, plain_columns, units_of
from luthier.trials.data.row_digests import Digest, content_digest, row_digests
from luthier.trials.data.unit_draws import apportion, draw_units
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
        """The stratum of each row, of its labels the rarest; the same one for all where rows are alike."""
        return [0] * len(self) if self.strata is None else list(single_keys(self.strata))


def sample(
    given: Mapping[str, Split], limit: int, seed: int, by_content: bool = False, digest: Digest = content_digest
) -> dict[str, Sequence[int]]:
    """Draw a sample over all splits together, with the same share of every label of every split.

    Args:
        given: Split name -> its rows.
        limit: Rows of the sample. Whole groups are taken where rows are grouped: about `limit` rows then.
        seed: Another seed draws other rows.
        by_content: Draw the same rows again when others were added, as far as they still fit.
        digest: Of the content of an image or sound.

    Returns:
        Split name -> the numbers of the sampled rows, ascending.

    Raises:
        BadData: The limit is too small to hold each label of each split.
    """
    keys: list[tuple[str, Key]] = [(name, stratum) for name, split in given.items() for stratum in split.keys]
    if limit >= len(keys):
        return {name: range(len(split)) for name, split in given.items()}
    if limit < len(set(keys)) and any(isinstance(stratum, Quantile) for _, stratum in keys):
        keys = [(name, 0) for name, _ in keys]
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
            places = itertools.chain.from_iterable(
                row_digests(split.columns, f"{seed}", digest) for split in given.values()
            )
            strata = _by_place(strata, _places(places))
        quotas = apportion({key: len(rows) for key, rows in strata.items()}, limit, least=1)
        chosen = sorted(i for key, rows in strata.items() for i in rows[: quotas[key]])
    sampled: dict[str, Sequence[int]] = {}
    offset = 0
    for name, split in given.items():
        sampled[name] = [i - offset for i in chosen if offset <= i < offset + len(split)]
        offset += len(split)
    return sampled


def draw_splits(
    given: Mapping[str, Split],
    dataset: Dataset,
    seed: int,
    first: Numbers | None = None,
    digest: Digest = content_digest,
) -> dict[str, Split]:
    """Draw the splits that are not given from the training rows; every class keeps a row to train on.

    Args:
        given: Split name -> its rows; "train" is there.
        dataset: Its `validation` and `test` are the shares of the training rows, `draw` the kind of draw.
        seed: Another seed draws other rows.
        first: A number for each training row, the same one for rows that are related by their input: (rows,).
        digest: Of the content of an image or sound.

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
    units = [] if first is None else units_of(first)
    groups = pool.groups if first is None or pool.groups is None else joined_groups(pool.groups, first)
    sides = _draw_sides(pool, units, groups, shares, dataset.draw == "stable", seed, digest)
    for name in shares:
        if not sides[name]:
            drawn = list(shares) if units and groups is None else [name]
            raise BadData(_too_few(pool, units, groups, drawn), "dataset", name)
    splits = {name: split for name, split in given.items() if name != "train"}
    splits |= {name: pool.take(rows) for name, rows in sides.items()}
    return {name: splits[name] for name in ("train", "validation", "test") if name in splits}


def _draw_sides(
    pool: Split,
    units: Sequence[list[int]],
    groups: list[str] | None,
    shares: Mapping[str, float],
    stable: bool,
    seed: int,
    digest: Digest,
) -> Mapping[str, Sequence[int]]:
    """Return split name -> its rows of `pool`, "train" among them.

    Args:
        pool: The rows to draw from.
        units: Rows that are related by their input, and stay together.
        groups: The group of each row; None: there are none.
        shares: Split name -> its share of the rows.
        stable: A row's side depends on its content alone, so that it stays there while the data grow.
        seed: Another seed draws other rows.
        digest: Of the content of an image or sound.
    """
    sets = [key for key in pool.strata or () if isinstance(key, LabelSet)]
    if groups is None and sets and not stable:
        return draw_label_sets(sets, units, shares, f"{seed}:split")
    if groups is None:
        strata = shuffled_members(pool.keys, f"{seed}:split")
        if stable:
            strata = _by_place(strata, _unit_places(pool, units, f"{seed}", digest))
        return draw_units(strata, pool.keys, units, shares, both_ends=stable)
    if stable:
        return assign_groups_by_name(groups, sets or pool.keys, shares, f"{seed}")
    return assign_groups(groups, sets or pool.keys, shares, "train", "train", f"{seed}:split")


def _too_few(pool: Split, units: Sequence[list[int]], groups: list[str] | None, drawn: Sequence[str]) -> str:
    """Return the sentence that splits cannot be drawn: how many rows, inputs or groups there are, and the cure."""
    if groups is not None:
        joined = len(set(pool.groups or ())) - len(set(groups))
        count = f"{len(set(groups))} groups" + (f" ({joined} more share inputs with them)" if joined else "")
        return f"{count} are too few to draw a {drawn[0]} split from; add rows or give it a file."
    if not units:
        return f"{len(pool)} rows are too few to draw a {drawn[0]} split from; add rows or give it a file."
    different = len(pool) - sum(len(unit) - 1 for unit in units)
    sides = " and ".join(name for name in ("validation", "test") if name in drawn)
    held = f"{different} different {noun(pool.columns, different)}"
    return (
        f"{len(pool)} rows hold only {held}: too few to draw {sides} from, because rows with the same input stay on "
        f"one side; add rows with others, or give {sides} a file each."
    )


def _places(digests: Iterable[bytes]) -> NDArray[numpy.uint64]:
    """Return digests as numbers of the same order."""
    return numpy.fromiter((int.from_bytes(digest) for digest in digests), numpy.uint64)


def _by_place(strata: Mapping[Key, list[int]], places: NDArray[numpy.uint64]) -> dict[Key, list[int]]:
    """Return the rows of each stratum in the order of their places."""
    return {key: numpy.array(rows)[numpy.argsort(places[rows], kind="stable")].tolist() for key, rows in strata.items()}


def _unit_places(pool: Split, units: Sequence[list[int]], key: str, digest: Digest) -> NDArray[numpy.uint64]:
    """Return the place of each row in a stable draw: the digest of its content, and of its plain form in other units.

    A text that is written in several forms has the place of its plain form, so that a form that is added later does not
    move the row that was there. Where it has one form only, its place is the one that it would have alone.
    """
    places = _places(row_digests(pool.columns, key, digest))
    several = [row for unit in units if len(set(places[unit].tolist())) > 1 for row in unit]
    if several:
        plain = plain_columns(pool.take(several).columns)
        places[several] = _places(row_digests(plain, key, digest))
    return places
