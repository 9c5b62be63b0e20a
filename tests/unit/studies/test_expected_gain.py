"""The expected gain of going on: its closed form, its units, and what it says of scores whose tail is known."""

import numpy as np
import pytest

from luthier.studies.expected_gain import LEAST_TRIALS, MOST_SCORES, expected_gain, tail_size


def best_first(scores: list[float]) -> list[float]:
    return sorted(scores, reverse=True)


SCORES = best_first([0.9, 0.85, 0.8, 0.78, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])


def gain(scores: list[float], tried: int, left: float) -> float:
    found = expected_gain(scores, tried, left)
    assert found is not None
    return found


def test_of_scores_whose_tail_is_known_it_is_right_on_average_or_a_little_high() -> None:
    """The distance to the end of the scale is the root of an even number: a tail of shape -1/2."""
    rng = np.random.default_rng(0)
    for tried, left in ((12, 6), (30, 10), (30, 70), (200, 100)):
        drawn = 1 - np.sqrt(rng.random((1_000, tried + left)))
        real = float(np.mean(drawn.max(1) - drawn[:, :tried].max(1)))
        estimates = [gain(best_first(row.tolist())[: tail_size(tried) + 1], tried, left) for row in drawn[:, :tried]]
        assert 1.0 < np.mean(estimates) / real < 1.3, (tried, left)


def test_it_is_in_the_units_of_the_scores_and_the_same_for_a_loss() -> None:
    whole = gain(SCORES, 10, 20)
    assert gain([100 * score + 7 for score in SCORES], 10, 20) == pytest.approx(100 * whole)
    assert gain([-score for score in SCORES], 10, 20) == pytest.approx(whole)


def test_more_trials_gain_more_and_each_of_them_less() -> None:
    gains = [gain(SCORES, 10, left) for left in (0, 0.5, 5, 10, 15)]
    assert gains[0] == 0
    assert gains == sorted(gains)
    assert gains[3] - gains[2] > gains[4] - gains[3]
    assert gain(SCORES, 40, 10) < gain(SCORES, 10, 10)


def test_pruned_trials_count_as_worse_than_all_others() -> None:
    assert gain(SCORES, 14, 10) == pytest.approx(gain([*SCORES, 0.1, 0.05, 0.02, 0.01], 14, 10))


@pytest.mark.parametrize(
    ("scores", "tried"),
    [
        ([], LEAST_TRIALS),
        (SCORES[:3], 12),
        (SCORES, LEAST_TRIALS - 1),
        ([0.7] * 20, 20),
        ([0.9] * 8 + [0.1] * 12, 20),
    ],
)
def test_where_nothing_can_be_said_it_says_nothing(scores: list[float], tried: int) -> None:
    assert expected_gain(scores, tried, 10) is None


def test_of_very_many_scores_the_best_ones_suffice() -> None:
    many = best_first(np.random.default_rng(1).random(5_000).tolist())
    assert gain(many, 5_000, 100) == gain(many[: MOST_SCORES + 1], 5_000, 100)
