"""The plots of a study."""

import json

import optuna
import pytest

from luthier.studies.protocol import Reason, TrialState
from luthier.studies.search.storage import Storage
from tests.support.searches import run, score, start
from tests.support.specs import SPACE


@pytest.mark.parametrize("kind", ["history", "importance", "parallel", "slice", "contour", "intermediate", "timeline"])
def test_a_figure_renders(sqlite: Storage, kind: str) -> None:
    search = start(sqlite, space={**SPACE, "optimizer": ["adamw"], "dropout": {"low": 0.1, "high": 0.1}})
    with pytest.raises(ValueError, match=f"the {kind} plot needs "):
        search.plot(kind)
    for number in range(4):
        params = search.ask(number)
        assert params
        search.report(number, 1, score(params) / 2)
        search.tell(number, TrialState.COMPLETE, score(params), None)
    for number, (state, reason) in enumerate([("failed", "oom"), ("pruned", None), ("failed", "error")], start=4):
        search.ask(number)
        search.tell(number, TrialState(state), None, Reason(reason) if reason else None)
    search.ask(7)
    figure = json.loads(search.plot(kind)[0])
    assert figure["data"]
    assert "dropout" not in json.dumps(figure["layout"])


def test_a_figure_that_cannot_be_drawn_says_why(sqlite: Storage) -> None:
    search = start(sqlite, space={"epochs": {"low": 1, "high": 3}})
    with pytest.raises(ValueError, match=r"one of history, importance, .*, not pie"):
        search.plot("pie")
    run(search, range(1))
    with pytest.raises(ValueError, match="needs 2 complete trials; there is 1"):
        search.plot("importance")
    run(search, range(1, 3), lambda params: 0.5)
    with pytest.raises(ValueError, match="needs 2 hyperparameters with more than one value"):
        search.plot("contour")


def test_trials_that_this_process_made_are_told_apart(sqlite: Storage) -> None:
    search = start(sqlite)
    run(search, range(40))
    (bars,) = json.loads(search.plot("importance")[0])["data"]
    study = optuna.load_study(study_name="sms-spam", storage=sqlite)
    truth = optuna.importance.get_param_importances(study)
    assert len(set(truth.values())) > 1
    assert dict(zip(bars["y"], bars["x"], strict=True)) == pytest.approx(truth)
