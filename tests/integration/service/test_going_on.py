"""Studies that go on, beside what else one may have: deleted trials, noise, a trainer of the user's, waiting trials."""

from typing import Any

import pytest

from luthier.studies.protocol import AssignmentKind
from tests.support import external
from tests.support.external_trainer import Trainer
from tests.support.harness import Running, ScriptedWorker, problem
from tests.support.sampled import BASELINE, INTERVAL, sampling

pytestmark = pytest.mark.both_databases
FROM = {"from": {"study": "s1"}}


def extend(house: Running, name: str = "s1", **budget: Any) -> dict[str, Any]:
    answer = house.client.post(f"/v1/studies/{name}/extend", json={"budget": budget})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def delete(house: Running, number: int, name: str = "s1") -> None:
    assert house.client.delete(f"/v1/studies/{name}/trials/{number}").status_code == 204


def loser(house: Running, name: str = "s1") -> int:
    """Return the number of the last trial that is neither the baseline nor the best."""
    best = house.study(name)["best"]["trial"]
    return max(trial["number"] for trial in house.trials(name) if trial["number"] not in (0, best))


@pytest.mark.full
def test_the_place_of_a_deleted_trial_is_free_and_its_number_is_not(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 4}, parallel=1)
    gone = loser(house)
    delete(house, gone)
    assert extend(house, trials=5)["state"] == "running"
    worker.drain()
    assert [trial["number"] for trial in house.trials()] == [n for n in range(6) if n != gone]
    assert house.study()["message"] == "All 5 trials of the budget are done."
    assert len(house.optuna()) == 6


@pytest.mark.full
def test_a_deleted_trial_is_not_taken_over_and_one_taken_over_may_be_deleted(
    house: Running, worker: ScriptedWorker
) -> None:
    house.finished(budget={"trials": 4}, parallel=1)
    delete(house, loser(house))
    house.started(worker, "s2", **FROM, budget={"trials": 2}, parallel=1)
    study = house.study("s2")
    assert (study["taken_trials"], len(study["taken_over"]["items"])) == (3, 3)
    delete(house, loser(house, "s2"), "s2")
    study = house.study("s2")
    assert (study["taken_trials"], study["counts"]["complete"]) == (2, 2)
    worker.drain()
    study, trials = house.study("s2"), house.trials("s2")
    assert (study["state"], study["counts"]["complete"]) == ("completed", 4)
    assert [trial["number"] for trial in trials if trial["taken_from"] is None] == [3, 4]


@pytest.mark.full
def test_a_trial_that_was_taken_over_pruned_is_retried_here_at_this_budgets_cost(
    house: Running, worker: ScriptedWorker
) -> None:
    house.started(worker, budget={"trials": 3}, parallel=1)
    worker.train(worker.take())
    a = worker.take()
    worker.train(a, steps=1)
    worker.finish(a, "pruned")
    worker.drain()
    house.started(worker, "s2", **FROM, budget={"trials": 1}, parallel=1)
    pruned = next(trial for trial in house.trials("s2") if trial["state"] == "pruned")
    answer = house.client.post(f"/v1/studies/s2/trials/{pruned['number']}/retry")
    assert answer.status_code == 200, answer.text
    again = answer.json()
    assert (again["retry_of"], again["taken_from"], again["seed"]) == (pruned["number"], None, pruned["seed"])
    full = problem(house.client.post("/v1/studies/s2/trials", json={"params": {"batch_size": 8}}), 409)
    assert "extend it" in full["detail"]
    worker.drain()
    assert house.study("s2")["counts"]["complete"] == 3


def test_before_its_inspection_a_successor_takes_no_configuration(house: Running, worker: ScriptedWorker) -> None:
    """The old trials come first, and how many of them there will be is known only then."""
    house.finished(budget={"trials": 2}, parallel=1)
    house.create("s2", **FROM, budget={"trials": 3}, parallel=1)
    own = {"params": {"learning_rate": 1.5e-5}}
    refused = problem(house.client.post("/v1/studies/s2/trials", json=own), 409)["detail"]
    assert "s2 goes on from old trials, which get the first numbers once it is inspected." in refused
    assert "as soon as `luthier get s2` says running" in refused
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    answer = house.client.post("/v1/studies/s2/trials", json=own)
    assert (answer.status_code, answer.json()["number"]) == (201, 2)
    worker.drain()
    assert house.study("s2")["counts"]["complete"] == 5


@pytest.mark.full
def test_an_extended_study_compares_with_the_scores_that_its_baseline_had(
    house: Running, worker: ScriptedWorker
) -> None:
    """Its weights are gone after the first end, so the gain at the second one is judged from both intervals."""
    house.started(worker, parallel=1, budget={"trials": 2})
    for value in (0.6, 0.8):
        worker.score = lambda params, step, value=value: value - 0.01 * step  # type: ignore[misc]
        worker.train(worker.take())
    worker.evaluation = {"sampling": sampling(gained=4, lost=2)}
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    assert house.study()["best"]["gain"]["test"] == "mcnemar"

    study = extend(house, trials=3)
    assert (study["best"]["gain"], study["best"]["interval"]) == (None, None)
    assert study["baseline"]["test"] == BASELINE["test"]
    worker.score = lambda params, step: 0.9
    worker.train(worker.take())
    a = worker.take(AssignmentKind.EVALUATE)
    assert a.baseline is None, "its weights are gone"
    worker.evaluation = {"sampling": {"standard_error": 0.04, "interval": INTERVAL}}
    worker.evaluate(a)
    study = house.study()
    assert (study["state"], study["best"]["trial"], study["best"]["standard_error"]) == ("completed", 2, 0.04)
    assert study["best"]["gain"]["test"] == "independent"
    assert study["best"]["gain"]["value"] == pytest.approx(study["best"]["test"]["accuracy"] - 0.7)
    assert {name: study["baseline"][name] for name in BASELINE} == BASELINE


def test_an_external_study_is_extended(house: Running) -> None:
    trainer = Trainer(house)
    trainer.run()
    first = house.trials("tuning")
    assert extend(house, "tuning", trials=5)["message"] == "Extended."
    trainer.run()
    study = house.study("tuning")
    assert (study["state"], study["message"]) == ("completed", "All 5 trials of the budget are done.")
    assert house.trials("tuning")[:3] == first
    assert [trial.number for trial in house.optuna("tuning")] == list(range(5))


@pytest.mark.full
def test_an_external_study_goes_on_from_another_one(house: Running) -> None:
    """Whole trials where names, objective and steps are the same and the values lie in the space; else anew."""
    Trainer(house, budget={"trials": 4}).run()
    old = house.trials("tuning")
    wider = external.SPACE | {"activation": ["relu", "gelu", "silu"]}
    same = Trainer(house, "more", space=wider, budget={"trials": 2}, **{"from": {"study": "tuning"}})
    assert (same.created["taken_trials"], same.created["taken_over"]["reason"]) == (4, None)
    same.run()
    trials = house.trials("more")
    assert [(t["value"], t["params"], t["values"]) for t in trials[:4]] == [
        (t["value"], t["params"], t["values"]) for t in old
    ]
    assert [trial.value for trial in house.optuna("more")] == [trial["value"] for trial in trials]
    assert house.study("more")["counts"]["complete"] == 6

    narrow = {name: d for name, d in external.SPACE.items() if name != "momentum"} | {"lr": {"low": 1e-3, "high": 1e-2}}
    anew = Trainer(house, "anew", space=narrow | {"beta": 0.5}, budget={"trials": 9}, **{"from": {"study": "tuning"}})
    taken = anew.created["taken_over"]
    assert taken["trials"] == 0
    assert all("momentum is not searched any more" in item["why"] for item in taken["items"] if item["trial"])
    assert {trial["params"]["beta"] for trial in house.trials("anew")} == {0.5}
    steps = Trainer(house, "steps", steps=9, **{"from": {"study": "tuning"}})
    assert steps.created["taken_over"]["reason"] == "tuning was another study: its steps differed."
    steps.run()
    assert house.study("steps")["counts"]["complete"] == 3


@pytest.mark.full
def test_configurations_of_elsewhere_in_an_external_study(house: Running) -> None:
    given = [
        {"params": {"lr": 0.5, "activation": "relu", "depht": 3}, "value": 0.2},
        {"params": {"lr": 0.01, "activation": "tanh"}, "value": 0.9},
    ]
    trainer = Trainer(house, **{"from": {"trials": given}})
    better, worse = sorted(trainer.created["taken_over"]["items"], key=lambda item: item["trial"] or 0)
    assert (better["trial"], better["why"]) == (None, "activation tanh is not offered any more")
    assert worse["trial"] == 1
    assert "lr 0.5 became 0.1" in worse["why"]
    assert "depht is not searched any more" in worse["why"]
    trainer.run()
    assert house.trials("tuning")[1]["params"]["lr"] == 0.1
