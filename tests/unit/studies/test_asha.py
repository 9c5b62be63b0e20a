"""The rules of pause and promote: rungs, who goes on, and when PASHA trains further; pure functions."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.studies.asha import (
    Ladder,
    best_of_rung,
    first_top,
    goes_on,
    planned_rungs,
    ranking_noise,
    rungs_of,
    top_grows,
)
from luthier.studies.strategy import Pruner

scores = st.floats(0, 1, allow_nan=False).map(lambda value: round(value, 2))  # with equals
a_rung = st.dictionaries(st.integers(0, 40), scores, max_size=30)
factors = st.integers(2, 5)


def asha(**options: object) -> Pruner:
    return Pruner.model_validate({"name": "asha", **options})


def test_rungs_grow_by_the_factor_and_end_before_the_longest_trial() -> None:
    assert rungs_of(asha(), 27) == (1, 3, 9)
    assert rungs_of(asha(), 28) == (1, 3, 9, 27)
    assert rungs_of(asha(reduction_factor=2), 5) == (1, 2, 4)
    assert rungs_of(asha(), 1) == ()
    assert rungs_of(Pruner(name="halving"), 27) == ()


@given(a_rung, factors)
def test_one_of_so_many_passes_and_none_that_stays_is_better(rung: dict[int, float], factor: int) -> None:
    best = best_of_rung(rung, factor)
    assert len(best) == len(rung) // factor
    for number in best:
        for stays in rung.keys() - set(best):
            assert (rung[number], -number) > (rung[stays], -stays)


@given(st.lists(scores, min_size=1, max_size=40), factors)
def test_decisions_and_promotions_are_algorithm_2(arrivals: list[float], factor: int) -> None:
    """One worker: after each arrival those go on that Algorithm 2 would promote, and nobody twice."""
    rung: dict[int, float] = {}
    passed: list[int] = []
    for number, value in enumerate(arrivals):
        rung[number] = value
        wanted = set(sorted(rung, key=lambda n: (-rung[n], n))[: len(rung) // factor]) - set(passed)
        if goes_on(rung, number, factor):
            passed.append(number)
        paused = {n: 0 for n in rung if n not in passed}
        passed += Ladder(factor, [rung], paused, top=1).promotable()
        assert wanted <= set(passed)
        assert len(passed) == len(set(passed))


@settings(max_examples=50)
@given(st.lists(a_rung, min_size=1, max_size=4), factors, st.integers(0, 4), st.randoms())
def test_the_highest_rung_goes_first_and_none_passes_the_top(
    rungs: list[dict[int, float]], factor: int, top: int, chance: random.Random
) -> None:
    paused = {number: chance.randrange(len(rungs)) for rung in rungs for number in rung if chance.random() < 0.7}
    order = Ladder(factor, rungs, paused, top).promotable()
    places = [paused[number] for number in order]
    assert places == sorted(places, reverse=True)
    assert all(place < top for place in places)
    assert all(number in best_of_rung(rungs[paused[number]], factor) for number in order)


def test_pasha_begins_with_two_rungs_and_asha_with_all() -> None:
    assert first_top(asha(growth="pasha"), (1, 3, 9)) == 1
    assert first_top(asha(growth="none"), (1, 3, 9)) == first_top(asha(), (1, 3, 9)) == 3
    assert first_top(asha(growth="pasha"), (1,)) == 1  # a trial's end is the second


def test_the_top_grows_while_the_ranking_changes_beyond_the_noise() -> None:
    below = {1: 0.7, 2: 0.6, 3: 0.5, 4: 0.9}
    assert not top_grows(below, {1: 0.8, 2: 0.7}, 0.0)
    assert top_grows(below, {1: 0.7, 2: 0.8}, 0.0)
    assert not top_grows(below, {1: 0.7, 2: 0.8}, 0.11)  # they were equals before
    assert top_grows(below, {1: 0.7, 2: 0.6, 3: 0.8}, 0.11)  # the last one came first
    assert not top_grows(below, {4: 0.1}, 0.0)
    assert not top_grows(below, {}, 0.0)


@given(a_rung, st.floats(0, 1))
def test_the_same_order_never_lets_the_top_grow(rung: dict[int, float], noise: float) -> None:
    assert not top_grows(rung, {number: value / 2 for number, value in rung.items()}, noise)


def test_noise_is_what_lies_between_trials_that_change_places_to_and_fro() -> None:
    to_and_fro = {0: {1: 0.5, 2: 0.6, 3: 0.70}, 1: {1: 0.4, 2: 0.7, 3: 0.66}}
    assert ranking_noise(to_and_fro, 3) == pytest.approx(0.04)
    assert ranking_noise(to_and_fro, 2) == 0  # once only
    assert ranking_noise({**to_and_fro, 2: {1: 0.9, 2: 0.9, 3: 0.9}}, 3) == pytest.approx(0.04)
    assert ranking_noise({}, 3) == ranking_noise({0: {1: 0.5}}, 3) == 0
    assert ranking_noise({0: {1: 0.5, 2: 0.5}, 1: {1: 0.5, 2: 0.5}}, 2) == 0


@given(st.lists(st.lists(scores, min_size=5, max_size=5), min_size=2, max_size=6))
def test_noise_is_the_90th_percentile(values: list[list[float]]) -> None:
    curves = {n: dict(enumerate(row, 1)) for n, row in enumerate(values)}
    distances = []
    for a in range(len(values)):
        for b in range(a + 1, len(values)):
            signs = [np.sign(x - y) for x, y in zip(values[a], values[b], strict=True)]
            opposite = [i for i, sign in enumerate(signs) if signs[-1] and sign == -signs[-1]]
            if opposite and signs[-1] in signs[: opposite[-1]]:
                distances.append(abs(values[a][-1] - values[b][-1]))
    assert ranking_noise(curves, 5) == pytest.approx(float(np.percentile(distances, 90)) if distances else 0.0)


def test_the_leaders_of_the_highest_rung_are_trained_to_their_end() -> None:
    """Trial 0 is the baseline, which has a score at each rung, and the best one at the last."""
    scores = [{0: 0.6, 1: 0.9, 2: 0.8, 3: 0.7, 4: 0.1}, {0: 0.7, 1: 0.8, 2: 0.85}, {0: 0.95}]
    paused = {1: 1, 2: 1, 3: 0, 4: 0}

    def leaders(places: int, *without: int) -> list[int]:
        left = {number: place for number, place in paused.items() if number not in without}
        return Ladder(3, scores, left, top=3).leaders(places)

    assert leaders(1) == [2]
    assert leaders(1, 2) == [], "the best there has been trained"
    assert leaders(2) == [2, 1]
    assert leaders(4) == [2, 1, 3], "below the highest rung, too"
    assert Ladder(3, scores, {}, top=3).leaders(1) == []


def test_a_plan_names_each_rung_and_how_many_come_to_it() -> None:
    planned = [(rung.step, rung.trials) for rung in planned_rungs(asha(), 30, 27)]
    assert planned == [(1, 30), (3, 10), (9, 3)]
    assert [(rung.step, rung.trials) for rung in planned_rungs(asha(), float("inf"), 4)] == [(1, None), (3, None)]
    assert planned_rungs(Pruner(name="median"), 30, 27) == []
