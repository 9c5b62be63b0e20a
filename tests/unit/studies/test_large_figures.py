"""The plots of ten thousand trials: bounded, and true about what they do not show."""

import json
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from luthier.studies.search import figures
from tests.support.many_trials import made_up

WIDE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-6, 1e-3, log=True),
    "epochs": IntDistribution(1, 5),
    "batch_size": CategoricalDistribution([8, 16, 32]),
    "max_length": CategoricalDistribution(range(1, 1_001)),
    "model": CategoricalDistribution([f"models/{i}/{'x' * 300}" for i in range(200)]),
} | {f"share_{i}": FloatDistribution(0.0, 1.0) for i in range(10)}
COUNT = 10_000
SLOW = ("rank", "parallel", "importance")
"""Left to `make test-all`: a contour plot also takes the hyperparameters that matter most."""


@pytest.fixture(scope="module")
def many() -> list[FrozenTrial]:
    return made_up(WIDE, COUNT)


def study_of(trials: list[FrozenTrial]) -> optuna.Study:
    """Return a study that has these trials and costs nothing to read."""
    study = optuna.create_study(direction="maximize")
    study._storage.get_all_trials = (  # type: ignore[method-assign]
        lambda _, deepcopy=True, states=None: [t for t in trials if states is None or t.state in states]
    )
    return study


def draw(kind: str, trials: list[FrozenTrial], maximize: bool = True) -> dict[str, Any]:
    text = figures.draw(kind, trials, study_of, list(WIDE), "accuracy", maximize)
    assert len(text) <= figures.MAX_BYTES
    assert "<" not in text
    return dict(json.loads(text))


def note(figure: dict[str, Any]) -> str:
    return str(figure["layout"]["title"].get("subtitle", {}).get("text", ""))


@pytest.mark.timeout(40)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.full if kind in SLOW else ())
        for kind in (*figures.KINDS, *figures.OTHER_KINDS)
    ],
)
def test_a_plot_is_bounded_and_says_what_it_shows(many: list[FrozenTrial], kind: str) -> None:
    figure = draw(kind, many)
    assert len(figure["data"]) <= 500
    if kind in ("importance", "edf"):
        assert note(figure) == ""  # they take all trials
    else:
        assert " trials shown: the best, and an even sample of the others" in note(figure)
    of = {"timeline": "10,000 trials", "intermediate": "9,800 trials"}.get(kind, "8,400 complete trials")
    assert of in note(figure) or note(figure) == ""
    if kind in ("contour", "rank"):
        assert "the 6 of 15 hyperparameters that matter most" in note(figure)
        assert "learning_rate" in json.dumps(figure["layout"])


@pytest.mark.parametrize("maximize", [True, False])
def test_the_best_score_so_far_is_that_of_all_trials(many: list[FrozenTrial], maximize: bool) -> None:
    (scores, line) = draw("history", many, maximize)["data"]
    assert len(scores["x"]) == 2_000
    complete = [trial for trial in many if trial.state == TrialState.COMPLETE]
    running = (np.maximum if maximize else np.minimum).accumulate([trial.value for trial in complete])
    drawn = dict(zip(line["x"], line["y"], strict=True))
    assert line["line"]["shape"] == "hv"
    best = None
    for trial, truth in zip(complete, running, strict=True):
        best = drawn.get(trial.number, best)
        assert best == truth, trial.number


def test_a_search_that_only_improves_is_bounded_too(many: list[FrozenTrial]) -> None:
    rising = [optuna.trial.create_trial(value=number / COUNT) for number in range(COUNT)]
    for number, trial in enumerate(rising):
        trial.number = number
    (_, line) = draw("history", rising)["data"]
    assert len(line["x"]) == 2_001
    assert line["x"][-1] == COUNT - 1
    assert line["y"][-1] == rising[-1].value


def test_importance_is_that_of_all_trials(many: list[FrozenTrial]) -> None:
    truth = optuna.importance.get_param_importances(study_of(many), params=list(WIDE))
    assert max(truth, key=lambda name: truth[name]) == "learning_rate"
    (bars,) = draw("importance", many)["data"]
    assert dict(zip(bars["y"], bars["x"], strict=True)) == pytest.approx(truth)


def test_long_curves_are_thinned(many: list[FrozenTrial]) -> None:
    long = made_up({}, 20, steps=5_000)
    figure = draw("intermediate", long)
    assert all(len(line["x"]) <= figures.STEPS for line in figure["data"])
    assert figure["data"][0]["x"][-1] == 5_000
    assert note(figure) == "at most 50 evaluations of each"
    assert len(long[0].intermediate_values) == 5_000  # they are the search's


def test_a_plot_with_too_many_bytes_shows_fewer_trials(
    many: list[FrozenTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(figure: dict[str, Any]) -> int:
        return int(note(figure).split(" of ")[0].replace(",", ""))

    assert shown(draw("timeline", many)) == 1_000
    monkeypatch.setattr(figures, "MAX_BYTES", 200_000)
    assert shown(draw("timeline", many)) == 111
    monkeypatch.setattr(figures, "MAX_BYTES", 1_000)
    with pytest.raises(ValueError, match="the timeline plot needs a space with fewer or shorter choices: it has "):
        draw("timeline", many)
