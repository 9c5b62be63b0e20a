"""The choice of trials that a plot shows, where a study has more than it can."""

import itertools
from datetime import datetime

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from luthier.studies.search.thinning import spread, thin


def trials(count: int) -> list[FrozenTrial]:
    """Trials of which number 37 has the highest score and 41 the lowest; each tenth was pruned."""
    made = []
    for number in range(count):
        value = {37: 9.0, 41: -9.0}.get(number, number % 13 / 13)
        state = TrialState.PRUNED if number % 10 == 9 else TrialState.COMPLETE
        made.append(create_trial(state=state, value=value))
        made[-1].number, made[-1].datetime_start = number, datetime(2026, 11, 26)
    return made


@pytest.mark.parametrize("limit", [2, 3, 10, 999])
@pytest.mark.parametrize(("maximize", "best"), [(True, 37), (False, 41)])
def test_the_best_and_the_latest_are_always_among_them(limit: int, maximize: bool, best: int) -> None:
    numbers = [trial.number for trial in thin(trials(1_000), limit, maximize)]
    assert len(numbers) == limit
    assert numbers == sorted(set(numbers))
    assert {best, 999} <= set(numbers)
    assert numbers == [trial.number for trial in thin(trials(1_000), limit, maximize)]


def test_few_trials_are_all_shown() -> None:
    assert thin(few := trials(10), 10, True) == few
    assert thin([], 2, True) == []


def test_a_quarter_are_the_best_and_the_others_are_even() -> None:
    chosen = thin(every := trials(1_000), 100, True)
    complete = [trial for trial in every if trial.state == TrialState.COMPLETE]
    best = {t.number for t in sorted(complete, key=lambda t: -(t.value or 0.0))[:25]}
    assert best <= {trial.number for trial in chosen}
    others = [trial.number for trial in chosen if trial.number not in best]
    assert len(others) == 75
    assert others[0] == 0
    assert all(10 <= after - before <= 16 for before, after in itertools.pairwise(others))
    assert any(trial.state == TrialState.PRUNED for trial in chosen)


def test_items_are_spread_from_the_first_to_the_last() -> None:
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread(range(10), 2) == [0, 9]
    assert spread(range(10), 1) == [9]
    assert spread(range(3), 5) == [0, 1, 2]
