"""Whole groups on sides: the documented example, strata that must be covered, and sides that would be empty."""

import random
from collections import Counter

import pytest

from luthier.trials.data.group_splits import assign_groups, assign_groups_by_name


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_the_example_of_the_docstring(seed: str) -> None:
    groups, strata = list("aaaabbc"), [0, 0, 0, 1, 0, 1, 0]
    sides = assign_groups(groups, strata, {"test": 0.5}, remainder="train", must_cover="train", seed=seed)
    assert sides == {"test": [0, 1, 2, 3], "train": [4, 5, 6]}


@pytest.mark.parametrize("must_cover", ["train", "test"])
@pytest.mark.parametrize("seed", range(5))
def test_sides_hold_whole_groups_near_their_shares(must_cover: str, seed: int) -> None:
    draw = random.Random(seed)
    groups = [f"g{draw.randrange(80)}" for _ in range(600)]
    strata = [draw.choice("xxxyyz") for _ in groups]
    sides = assign_groups(groups, strata, {"test": 0.2, "validation": 0.1}, "train", must_cover, f"{seed}")
    assert sorted(row for rows in sides.values() for row in rows) == list(range(600))
    owners = {side: {groups[row] for row in rows} for side, rows in sides.items()}
    assert sum(map(len, owners.values())) == len(set(groups)), "no group is on two sides"
    assert {strata[row] for row in sides[must_cover]} == set("xyz")
    totals = Counter(strata)
    for side, share in (("test", 0.2), ("validation", 0.1), ("train", 0.7)):
        for stratum, count in Counter(strata[row] for row in sides[side]).items():
            assert abs(count / totals[stratum] - share) < 0.04


def test_a_side_that_got_nothing_takes_a_group_that_can_be_spared() -> None:
    groups, strata = ["big"] * 50 + ["middle"] * 40 + ["small"] * 30, [0] * 120
    sides = assign_groups(groups, strata, {"test": 0.01, "validation": 0.01}, "train", "train", "0")
    assert sides == {"test": list(range(50, 90)), "validation": list(range(50)), "train": list(range(90, 120))}
    two = assign_groups(groups[:90], strata[:90], {"test": 0.01, "validation": 0.01}, "train", "train", "0")
    assert two == {"test": list(range(50)), "validation": [], "train": list(range(50, 90))}, "groups are too few"


def test_by_name_training_covers_the_strata_and_a_group_alone_decides() -> None:
    groups = [f"g{i % 40}" for i in range(400)]
    strata = ["rare" if group == "g7" else "common" for group in groups]
    shares = {"test": 0.4, "validation": 0.4}
    sides = assign_groups_by_name(groups, strata, shares, "0")
    assert {strata[row] for row in sides["train"]} == {"rare", "common"}
    more = assign_groups_by_name([*groups, *(f"h{i % 9}" for i in range(90))], [*strata, *["common"] * 90], shares, "0")
    for side in ("test", "validation"):
        assert sides[side] == [row for row in more[side] if row < 400]
