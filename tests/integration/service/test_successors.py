"""A study goes on from old trials: whole where all that decides a score is the same, else anew; what is dropped."""

from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import AssignmentKind
from luthier.studies.results import Inspection
from tests.support.harness import INSPECTION, Running, ScriptedWorker, paths, running, spec
from tests.support.tiers import a_few

pytestmark = pytest.mark.both_databases
SPACE = spec()["space"]
SAME = ("state", "value", "values", "seed")
WIDER = {**SPACE, "batch_size": [8, 16, 32, 64], "weight_decay": {"low": 0.0, "high": 0.1}}


def successor(house: Running, worker: ScriptedWorker, name: str = "s2", take: str = "trials", **changes: Any) -> Any:
    """Create a study that goes on from s1, do its inspection, and return it."""
    house.started(worker, name, **{"from": {"study": "s1", "import": take}, "budget": {"trials": 3}, **changes})
    return house.study(name)


def test_whole_trials_cost_nothing_and_the_search_knows_them(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 4}, parallel=1)
    old = house.trials()
    before = len(worker.trained)
    study = successor(house, worker, space=WIDER, parallel=1)
    assert study["taken_over"]["trials"] == 4
    assert study["taken_over"]["reason"] is None
    assert study["state"] == "running"
    worker.drain()
    study, trials = house.study("s2"), house.trials("s2")
    assert study["state"] == "completed"
    assert study["message"] == "All 3 trials of the budget are done."
    assert len(worker.trained) - before == 3
    assert [trial["taken_from"] for trial in trials] == [{"study": "s1", "trial": i} for i in range(4)] + [None] * 3
    for mine, theirs in zip(trials, old, strict=False):
        assert [mine[key] for key in SAME] == [theirs[key] for key in SAME]
        assert mine["params"] == {**theirs["params"], "weight_decay": 0.01}
        assert (mine["seconds"], mine["attempt"], mine["worker"]) == (0, 0, None)
    told = house.optuna("s2")
    assert [(t.number, t.value) for t in told] == [(t["number"], t["value"]) for t in trials]
    assert told[1].intermediate_values == {v["step"]: v["metrics"]["accuracy"] for v in trials[1]["values"]}
    assert (study["taken_trials"], study["counts"]["complete"]) == (4, 7)
    assert study["baseline"]["value"] == house.study()["baseline"]["value"]
    assert study["best"]["test_looks"] == 2


@pytest.mark.parametrize("kept", a_few(1, [False, True]))
def test_one_that_was_taken_over_wins_also_without_its_old_study(
    house: Running, worker: ScriptedWorker, kept: bool
) -> None:
    """Its weights are linked where they are still kept, else it is trained again from its seed."""
    house.finished(budget={"trials": 3}, parallel=1)
    best = house.study()["best"]
    if not kept:
        for path in (house.settings.home / "store").glob("*/best-*"):
            path.unlink()
    successor(house, worker, budget={"trials": 1})
    assert house.client.delete("/v1/studies/s1").status_code == 204
    worker.score = lambda params, step: 0.1
    worker.work(worker.take())
    if not kept:
        again = worker.take(AssignmentKind.CONFIRM)
        assert again.seed == house.trials("s2")[best["trial"]]["seed"]
        worker.work(again)
    worker.drain()
    study = house.study("s2")
    assert (study["state"], study["best"]["trial"], study["best"]["value"]) == (
        "completed",
        best["trial"],
        best["value"],
    )
    assert study["best"]["test"] is not None
    assert house.client.get("/v1/studies/s2/model").status_code == 200
    told = "was taken over from s1 without its weights. It was trained again from its seed."
    assert any(told in warning for warning in study["warnings"]) == (not kept)


DIFFERENT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "data": ({}, {"fingerprint": "e" * 64}, "The data of s1 differ"),
    "labels": ({}, {"label_names": ["spam", "ham"]}, "The labels of s1 differ"),
    "metric": ({"objective": {"metric": "macro_f1"}}, {}, "its objective differed"),
    "evaluations": ({"evaluations_per_epoch": 2}, {}, "its evaluations_per_epoch differed"),
    "reading": ({"dataset": {"source": "data/sms.csv", "draw": "stable"}}, {}, "how its data are read"),
}


@pytest.mark.full
@pytest.mark.parametrize("kind", a_few(1, DIFFERENT))
def test_where_scores_do_not_hold_configurations_are_run_anew(
    house: Running, worker: ScriptedWorker, kind: str
) -> None:
    changes, found, reason = DIFFERENT[kind]
    house.finished(budget={"trials": 4}, parallel=1)
    old = {trial["number"]: trial for trial in house.trials()}
    worker.inspection = INSPECTION.model_copy(update=found)
    study = successor(house, worker, budget={"trials": 3}, parallel=1, **changes)
    taken = study["taken_over"]
    assert reason in taken["reason"]
    assert (taken["trials"], taken["params"], taken["dropped"]) == (0, 2, 2)
    assert study["counts"]["queued"] == 3
    ranked = sorted((old[n] for n in (1, 2, 3)), key=lambda trial: -trial["value"])
    assert [trial["params"] for trial in house.trials("s2")[1:]] == [trial["params"] for trial in ranked[:2]]
    why = {item["from_trial"]: item["why"] for item in taken["items"] if item["taken"] is None}
    assert why[0] == "its configuration is that of another trial"
    assert why[ranked[2]["number"]] == "the budget, or from.top, has no room for it"


@pytest.mark.full
def test_only_what_fits_todays_space_is_whole(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 6}, parallel=1, space={**SPACE, "optimizer": ["adamw", "sgd"]})
    old = house.trials()
    space = {**SPACE, "optimizer": ["adamw", "adam"], "batch_size": [8, 16]}
    study = successor(house, worker, budget={"trials": 9}, space=space)
    for item in study["taken_over"]["items"]:
        params = old[item["from_trial"]]["params"]
        if params["optimizer"] == "sgd":
            assert (item["taken"], "sgd is not offered any more" in item["why"]) == (None, True)
        elif params["batch_size"] == 32:
            assert item["taken"] in ("params", None)
        else:
            assert item["taken"] == "trials"
    numbers = [item["trial"] for item in study["taken_over"]["items"] if item["trial"] is not None]
    assert len(numbers) == len(set(numbers))
    worker.drain()
    assert house.study("s2")["state"] == "completed"
    assert [trial["number"] for trial in house.trials("s2")] == [t.number for t in house.optuna("s2")]


@pytest.mark.full
def test_another_model_and_several(house: Running, worker: ScriptedWorker) -> None:
    """With another model everything runs anew; a study of several takes over whole what its first model did."""
    house.finished(budget={"trials": 3}, parallel=1)
    taken = successor(house, worker, "other", model="models/other", budget={"trials": 9})["taken_over"]
    assert (taken["trials"], taken["params"]) == (0, 2)
    house.client.post("/v1/studies/other/cancel").raise_for_status()
    found = INSPECTION.model_dump(mode="json")
    found["others"] = [{key: found[key] for key in ("blocks", "trainable_parameters")}]
    worker.inspection = Inspection.model_validate(found)
    models = ["models/tiny", "models/other"]
    space = {**SPACE, "freeze_depth": {"low": 0.0, "high": "auto"}}
    taken = successor(house, worker, "several", model=models, space=space, budget={"trials": 9})["taken_over"]
    assert taken["trials"] == 3, taken
    for old, new in zip(house.trials(), house.trials("several"), strict=False):
        assert new["params"]["model"] == "models/tiny"
        assert round(new["params"]["freeze_depth"] * 6) == old["params"]["freeze_depth"]


@pytest.mark.full
def test_configurations_alone_and_at_most_so_many(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 5}, parallel=1)
    started = {"study": "s1", "import": "params", "top": 2}
    study = successor(house, worker, **{"from": started}, budget={"trials": 9})
    assert study["taken_over"]["reason"] is None
    assert (study["taken_over"]["trials"], study["taken_over"]["params"]) == (0, 2)
    assert study["best"] is None
    worker.drain()
    assert house.study("s2")["counts"]["complete"] == 9
    assert house.study("s2")["best"]["test_looks"] == 2, "the same test split"


def test_a_pruned_and_a_failed_trial(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 3}, parallel=1)
    worker.work(worker.take())
    a = worker.take()
    worker.report(a, 1, 0.3)
    worker.finish(a, "pruned")
    worker.finish(worker.take(), "failed", reason="error", problem={"message": "Bad luck."})
    worker.drain()
    items = successor(house, worker)["taken_over"]["items"]
    assert [item["taken"] for item in items] == ["trials", "trials", None]
    assert "failed" in items[2]["why"]
    assert house.trials("s2")[1]["state"] == "pruned"
    worker.drain()
    assert house.study("s2")["counts"] == house.study("s2")["counts"] | {"complete": 4, "pruned": 1, "failed": 0}
    assert [t.state.name for t in house.optuna("s2")][:2] == ["COMPLETE", "PRUNED"]


def test_what_is_refused_and_leaves_nothing(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 2})

    def refused(**changes: Any) -> str:
        answer = house.client.post("/v1/studies", json=spec("s2", **changes))
        assert {path.split(".")[0] for path in paths(answer)} == {"from"}
        return str(answer.json()["detail"])

    assert "s1 is running, and its trials still change" in refused(**{"from": {"study": "s1"}})
    house.client.post("/v1/studies/s1/pause").raise_for_status()
    assert "s1 is paused" in refused(**{"from": {"study": "s1"}})
    assert "There is no study named s11. Did you mean s1?" in refused(**{"from": {"study": "s11"}})
    house.client.post("/v1/studies/s1/cancel").raise_for_status()
    assert "no ended trial" in refused(**{"from": {"study": "s1"}})
    assert "read where you are" in refused(**{"from": {"file": "trials.csv"}})
    bad = [{"params": {"learning_rate": "fast", "lr": 1}}]
    assert paths(house.client.post("/v1/studies", json=spec("s2", **{"from": {"trials": bad}}))) == {
        "from.trials.0.params.learning_rate",
        "from.trials.0.params.lr",
    }
    assert [study["name"] for study in house.get("/v1/studies")["items"]] == ["s1"]
    study = {k: v for k, v in spec(**{"from": {"study": "s1"}}).items() if k != "name"}
    nightly = {"name": "nightly", "cron": "@daily", "study": study}
    assert paths(house.client.post("/v1/schedules", json=nightly)) == {"study.from"}


def test_configurations_of_elsewhere(house: Running, worker: ScriptedWorker) -> None:
    """The best come first, whatever is missing has its default, and their scores count for nothing."""
    given = [
        {"params": {"learning_rate": 1e-5, "batch_size": 8}, "value": 0.7},
        {"params": {"learning_rate": 2e-5, "batch_size": 64, "epochs": 2, "freeze_depth": 1}},
        {"params": {"learning_rate": 3e-5, "batch_size": 16, "weight_decay": 0.1}, "value": 0.99},
    ]
    house.started(worker, "s2", **{"from": {"trials": given}}, budget={"trials": 5}, parallel=1)
    taken = house.study("s2")["taken_over"]
    assert (taken["study"], taken["trials"], taken["params"], taken["dropped"]) == (None, 0, 3, 0)
    assert "batch_size 64 became 32" in taken["items"][1]["why"]
    assert "weight_decay is not searched any more" in taken["items"][2]["why"]
    assert [trial["params"]["learning_rate"] for trial in house.trials("s2")[1:]] == [3e-5, 1e-5, 2e-5]
    worker.drain()
    assert house.study("s2")["best"]["test_looks"] == 1
    assert house.study("s2")["counts"]["complete"] == 5


@pytest.mark.full
def test_the_same_spec_again_and_a_study_extended_meanwhile(house: Running, worker: ScriptedWorker) -> None:
    """What is taken over are the trials of the moment of creation."""
    house.finished(budget={"trials": 3}, parallel=1)
    changes: dict[str, Any] = {"from": {"study": "s1"}, "budget": {"trials": 2}}
    house.create("s2", **changes)
    house.client.post("/v1/studies/s1/extend", json={"budget": {"trials": 5}}).raise_for_status()
    again = house.client.post("/v1/studies", json=spec("s2", **changes))
    assert again.status_code == 200, again.text
    worker.drain()
    assert house.study("s2")["taken_over"]["trials"] == 3
    assert house.study("s2")["counts"]["complete"] == 5
    assert house.study()["counts"]["complete"] == 5


@pytest.mark.full
def test_two_services_see_what_was_taken_over(database_url: str, tmp_path: Path) -> None:
    with running(tmp_path / "home", database_url) as one, running(tmp_path / "home", database_url) as two:
        one.finished(budget={"trials": 3}, parallel=1)
        successor(one, one.worker("a"))
        a, b = one.worker("a"), two.worker("b")
        for _ in range(3):
            for worker in (b, a):
                work = worker.claim()
                if work is not None:
                    worker.work(work)
        b.drain()
        assert two.study("s2")["state"] == "completed"
        assert [trial["number"] for trial in two.trials("s2")] == list(range(6))
        assert [trial.value for trial in two.optuna("s2")] == [trial["value"] for trial in two.trials("s2")]
