"""Pruners compare at equal data, with trials whose rate has fallen no further, and with three of them at least."""

from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from luthier.studies.protocol import TrialState
from luthier.studies.prunable import brackets_of
from luthier.studies.search.search import Search
from luthier.studies.semantics import COMPARED_BY_SHARE
from tests.support import external
from tests.support.searches import start

PRUNERS: list[dict[str, Any]] = [
    {"name": "median", "startup_trials": 1},
    {"name": "percentile", "percentile": 50.0, "startup_trials": 1},
    {"name": "patient", "patience": 0, "startup_trials": 1},
    {"name": "halving", "reduction_factor": 2},
    {"name": "hyperband", "reduction_factor": 3},
]
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
    "epochs": [2, 3, 6],
    "scheduler": ["linear", "constant", "cosine_with_restarts"],
}
each_pruner = pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: str(pruner["name"]))


class Trials:
    """Trials of one search, each of a length and a score that rises a little, or not at all."""

    def __init__(self, pruner: dict[str, Any], semantics: int = COMPARED_BY_SHARE, **changes: Any) -> None:
        self.pruner, self.changes = pruner, changes
        self.storage, self.given = InMemoryStorage(), {"pruner": pruner, "semantics": semantics, "space": SPACE}
        self.given |= changes
        self.search: Search = start(self.storage, **self.given)
        self.play(self.search.ask(0) or {}, 0.5)  # the baseline, of three epochs

    def again(self) -> None:
        """Go on in another process, which has nothing but the storage."""
        self.search = start(self.storage, **self.given)

    def trial(self, epochs: int, score: float, scheduler: str = "linear", whole: bool = True) -> int | None:
        """Train the next trial, in the first bracket of Hyperband, and return at which evaluation it was pruned."""
        bracket = brackets_of("sms-spam", self.search.spec.pruner, self.search.spec.max_steps)
        while self.pruner["name"] == "hyperband" and bracket(self.search.count()):
            number = self.search.count()
            self._enqueue(2, "linear")
            self.search.tell(number, TrialState.FAILED, None, None)
        return self.play(self._enqueue(epochs, scheduler), score)

    def _enqueue(self, epochs: int, scheduler: str) -> dict[str, Any]:
        number = self.search.count()
        params = {"learning_rate": 1e-6 * (number + 1), "epochs": epochs, "scheduler": scheduler}
        self.search.enqueue(number, params)
        return params

    def play(self, params: dict[str, Any], score: float) -> int | None:
        number, rising = self.search.count() - 1, 0.001 if score >= 0.5 else 0.0
        for step in range(1, int(params["epochs"]) + 1):
            if self.search.report(number, step, score + rising * step):
                self.search.tell(number, TrialState.PRUNED, None, None)
                return step
        self.search.tell(number, TrialState.COMPLETE, score, None)
        return None


@each_pruner
def test_a_long_trial_is_not_judged_by_short_ones_and_a_short_one_is_by_long_ones(pruner: dict[str, Any]) -> None:
    trials = Trials(pruner)
    for _ in range(4):
        assert trials.trial(2, 0.9) is None
    assert trials.trial(6, 0.1) is None, "at the same data the rates of the short ones had fallen further"
    for _ in range(3):
        assert trials.trial(6, 0.9) is None
    assert trials.trial(6, 0.1) is not None, "with three of its own length"
    assert trials.trial(3, 0.1) is not None, "a shorter one that is worse all the same"


@each_pruner
def test_two_others_are_too_few(pruner: dict[str, Any]) -> None:
    trials = Trials(pruner)
    for _ in range(2):
        assert trials.trial(6, 0.9) is None
    trials.again()
    assert trials.trial(6, 0.1) is None
    trials.again()
    assert trials.trial(6, 0.1) is not None, "the trial before was the third"


@each_pruner
def test_studies_of_older_semantics_compare_as_before(pruner: dict[str, Any]) -> None:
    trials = Trials(pruner, COMPARED_BY_SHARE - 1)
    assert trials.trial(3, 0.9) is None
    assert trials.trial(6, 0.1) is not None


@each_pruner
def test_rates_that_do_not_fall_make_lengths_comparable(pruner: dict[str, Any]) -> None:
    trials = Trials(pruner)
    for _ in range(3):
        assert trials.trial(3, 0.9, "constant") is None
    assert trials.trial(6, 0.1, "linear") is not None, "its own rate has fallen, theirs have not"
    for _ in range(2):
        trials.trial(6, 0.9, "linear")
    assert trials.trial(6, 0.1, "constant") is not None


def test_a_steady_trial_is_not_judged_by_those_whose_rates_fall() -> None:
    trials = Trials(PRUNERS[0])
    for _ in range(4):
        assert trials.trial(6, 0.9, "linear") is None
    assert trials.trial(6, 0.1, "constant") is None


def test_rates_that_rise_again_are_compared_at_equal_shares_only() -> None:
    trials = Trials(PRUNERS[0])
    for _ in range(4):
        assert trials.trial(6, 0.9, "cosine_with_restarts") is None
    assert trials.trial(3, 0.1, "cosine_with_restarts") is None
    assert trials.trial(3, 0.1, "linear") is None
    assert trials.trial(6, 0.1, "cosine_with_restarts") == 1


def test_an_external_study_has_no_schedule_of_ours_and_still_needs_three() -> None:
    spec = external.spec(pruner={"name": "median", "startup_trials": 1}, steps=5, budget={"trials": 9})
    search = Search(InMemoryStorage(), spec, spec.space)
    ended = []
    for number, score in enumerate([0.9, 0.9, 0.1, 0.1]):
        search.ask(number)
        ended.append(search.report(number, 1, score))
        search.report(number, 2, score)
        search.tell(number, TrialState.COMPLETE, score, None)
    assert ended == [False, False, False, True]
