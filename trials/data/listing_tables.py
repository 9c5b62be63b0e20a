"""The tables that list the images or sounds of a folder: which of them a first spec names, and which it leaves out.

A source that is such a folder is read by its subfolders; so `first_spec` names a table in it, or one for each split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from luthier.trials.data.containers import split_of


@dataclass(frozen=True)
class Listing:
    """The tables of a folder, by what they are for.

    Attributes:
        train: The one to train on: that which is called so, else the first.
        others: validation and test -> the one that is called so, where one is called train.
        left_out: The rest of them.
    """

    train: str
    others: dict[str, str]
    left_out: tuple[str, ...]


def listing_of(tables: Sequence[str]) -> Listing:
    """Return what tables are for, by their names; of two for the same split the first. At least one is there."""
    named: dict[str, str] = {}
    for table in tables:
        split = split_of(PurePosixPath(table).stem)
        if split is not None:
            named.setdefault(split, table)
    if "train" not in named:
        return Listing(tables[0], {}, tuple(tables[1:]))
    train = named.pop("train")
    return Listing(train, named, tuple(table for table in tables if table not in (train, *named.values())))
