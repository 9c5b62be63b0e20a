"""A stable draw: rows keep their side of the splits when others are added, taken away, or put in another order."""

import csv
import random
from pathlib import Path

import pytest

from luthier.studies.dataset import Dataset
from luthier.trials.data.load import Data
from tests.support.data import load_data
from tests.support.tiny import tiny_rows

ROWS = list(dict.fromkeys(tiny_rows(1300, seed=5)))  # distinct sentences
Row = tuple[str, ...]


def drawn(folder: Path, rows: list[Row], header: Row = ("text", "label"), **changes: object) -> Data:
    path = folder / "data.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    known = {"source": str(path), "validation": 0.2, "test": 0.2, "draw": "stable"}
    return load_data(Dataset.model_validate(known | changes), "text-classification", seed=3)


def sides(data: Data) -> dict[str, str]:
    return {text: name for name, split in data.splits.items() for text in split.columns["text"]}


def moved(before: Data, after: Data) -> float:
    """The share of rows that both have and that changed sides."""
    a, b = sides(before), sides(after)
    both = a.keys() & b.keys()
    return sum(a[text] != b[text] for text in both) / len(both)


def test_rows_keep_their_side_as_the_data_grows(tmp_path: Path) -> None:
    before, after = drawn(tmp_path, ROWS[:600]), drawn(tmp_path, ROWS[:1200])
    assert moved(before, after) < 0.06  # the few at the edges
    once, now = (sides(data) for data in (before, after))
    assert sum(now[text] == "test" and once[text] == "validation" for text in once) == 0  # far from each other
    random_draw = [drawn(tmp_path, rows, draw="random") for rows in (ROWS[:600], ROWS[:1200])]
    assert moved(*random_draw) > 0.4


def test_the_order_of_the_rows_plays_no_part(tmp_path: Path) -> None:
    mixed = random.Random(1).sample(ROWS[:600], 600)
    assert sides(drawn(tmp_path, ROWS[:600])) == sides(drawn(tmp_path, mixed))


def test_shares_are_exact_and_stratified(tmp_path: Path) -> None:
    data = drawn(tmp_path, ROWS[:600])
    assert data.rows == {"train": 360, "validation": 120, "test": 120}
    for split in data.splits.values():
        assert abs(sum(split.targets) / len(split) - 0.5) < 0.02


def test_a_sample_keeps_its_rows(tmp_path: Path) -> None:
    before, after = (drawn(tmp_path, rows, limit=300) for rows in (ROWS[:600], ROWS[:640]))
    assert len(sides(before).keys() & sides(after).keys()) > 270
    assert moved(before, after) < 0.1


def test_groups_go_by_their_name_alone(tmp_path: Path) -> None:
    header, role = ("text", "label", "patient"), {"columns": {"group": "patient"}}
    rows = [(*row, f"p{i % 60}") for i, row in enumerate(ROWS[:600])]
    more = [*rows, *((*row, f"q{i % 40}") for i, row in enumerate(ROWS[600:1000]))]
    before, after = (drawn(tmp_path, some, header, **role) for some in (rows, more))
    assert moved(before, after) == 0
    assert all(0.1 < len(after.splits[name]) / 1000 < 0.3 for name in ("validation", "test"))
    owner: dict[str, str] = {}
    for name, split in after.splits.items():
        for group in split.groups or ():
            assert owner.setdefault(group, name) == name


@pytest.mark.parametrize("draw", ["random", "stable"])
def test_a_seed_gives_the_same_splits_and_another_others(tmp_path: Path, draw: str) -> None:
    first = drawn(tmp_path, ROWS[:200], draw=draw)
    dataset = Dataset.model_validate({"source": str(tmp_path / "data.csv"), "draw": draw})
    same, other = (load_data(dataset, "text-classification", seed) for seed in (4, 5))
    assert sides(first) == sides(drawn(tmp_path, ROWS[:200], draw=draw))
    assert sides(same) != sides(other)
