"""Iterative stratification: each side gets its share of each label, training every label, and copies stay together."""

import random
from collections import Counter

import pytest

from luthier.studies.dataset import Dataset
from luthier.trials.data.group_splits import LabelSet
from luthier.trials.data.label_set_draws import draw_label_sets
from luthier.trials.data.splits import Split, draw_splits, sample

SHARES = {"test": 0.2, "validation": 0.1}


def sets(rows: int, labels: int, seed: int) -> list[LabelSet]:
    """Return sets of labels, of which label k is in about a share 1 / (k + 2) of the rows."""
    draw = random.Random(seed)
    return [LabelSet(k for k in range(labels) if draw.random() < 1 / (k + 2)) for _ in range(rows)]


@pytest.mark.parametrize(("rows", "labels", "seed"), [(400, 6, 0), (1000, 12, 1), (150, 4, 2)])
def test_each_side_gets_its_share_of_each_label(rows: int, labels: int, seed: int) -> None:
    found = sets(rows, labels, seed)
    sides = draw_label_sets(found, [], SHARES, "s")
    assert sorted(row for held in sides.values() for row in held) == list(range(rows))
    whole = Counter(label for row in found for label in row)
    for side, share in {**SHARES, "train": 0.7}.items():
        assert len(sides[side]) == pytest.approx(share * rows, abs=0.02 * rows + 1)
        held = Counter(label for row in sides[side] for label in found[row])
        for label, count in whole.items():
            assert held[label] == pytest.approx(share * count, abs=2), f"label {label} of {side}"


def test_a_stratified_draw_is_nearer_to_the_shares_than_a_random_one() -> None:
    found = sets(300, 10, 5)
    whole = Counter(label for row in found for label in row)

    def distance(rows: list[int]) -> float:
        held = Counter(label for row in rows for label in found[row])
        return sum(abs(held[label] / count - 0.2) for label, count in whole.items())

    drawn = draw_label_sets(found, [], {"test": 0.2}, "s")["test"]
    by_chance = [distance(random.Random(seed).sample(range(300), 60)) for seed in range(20)]
    assert distance(drawn) < min(by_chance) / 2


def test_training_has_every_label_and_copies_lie_on_one_side() -> None:
    found = [LabelSet((k % 5,)) for k in range(40)] + [LabelSet((9,)), LabelSet((9, 8)), LabelSet()]
    units = [[0, 1, 2], [40, 41]]
    for seed in range(20):
        sides = draw_label_sets(found, units, SHARES, f"{seed}")
        assert {label for row in sides["train"] for label in found[row]} == {0, 1, 2, 3, 4, 8, 9}
        for unit in units:
            assert sum(bool(set(unit) & set(held)) for held in sides.values()) == 1
        assert all(sides.values())


def test_the_seed_decides() -> None:
    found = sets(100, 5, 0)
    assert draw_label_sets(found, [], SHARES, "a") == draw_label_sets(found, [], SHARES, "a")
    assert draw_label_sets(found, [], SHARES, "a") != draw_label_sets(found, [], SHARES, "b")


def split(found: list[LabelSet], groups: list[str] | None = None) -> Split:
    texts = [f"text {i}" for i in range(len(found))]
    return Split({"text": list(texts)}, [list(row) for row in found], groups, list(found))


@pytest.mark.parametrize("draw", ["random", "stable"])
@pytest.mark.parametrize("grouped", [False, True])
def test_every_kind_of_draw_takes_sets_of_labels(draw: str, grouped: bool) -> None:
    found = sets(300, 5, 3)
    groups = [f"g{i // 3}" for i in range(300)] if grouped else None
    dataset = Dataset(source="x", validation=0.2, test=0.2, draw=draw)
    splits = draw_splits({"train": split(found, groups)}, dataset, 0)
    assert {label for row in splits["train"].targets for label in row} == {0, 1, 2, 3, 4}
    held = Counter(label for row in splits["test"].targets for label in row)
    whole = Counter(label for row in found for label in row)
    for label, count in whole.items():
        assert held[label] / count == pytest.approx(0.2, abs=0.12)
    if grouped:
        of = {name: set(part.groups or ()) for name, part in splits.items()}
        assert not of["train"] & of["test"]


def test_a_stable_draw_keeps_rows_on_their_side_as_others_come() -> None:
    found = sets(300, 5, 3)
    dataset = Dataset(source="x", validation=0.2, test=0.2, draw="stable")
    before, after = (draw_splits({"train": split(found[:count])}, dataset, 0) for count in (270, 300))
    moved = set(before["train"].columns["text"]) & set(after["test"].columns["text"])
    assert len(moved) < 0.03 * len(before["train"])


def test_a_sample_has_each_label() -> None:
    found = sets(300, 5, 3)
    rows = sample({"train": split(found)}, 40, 0)["train"]
    assert len(rows) == 40
    assert {label for row in rows for label in found[row]} == {0, 1, 2, 3, 4}
