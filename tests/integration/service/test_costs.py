"""What trials take: told to the search that weighs it, shown, and why a machine gets one queued trial first."""

from typing import Any

from luthier.studies.search.cost_aware import SECONDS
from tests.support.harness import Running, ScriptedWorker

BUDGET = {"budget": {"gpu_seconds": 500.0}, "sampler": {"cost_aware": "auto"}}
OWN = {"learning_rate": 1e-4, "batch_size": 8, "epochs": 1, "freeze_depth": 0}


def enqueued(house: Running, **params: Any) -> int:
    response = house.client.post("/v1/studies/s1/trials", json={"params": OWN | params})
    assert response.status_code == 201, response.text
    return int(response.json()["number"])


def test_a_search_that_weighs_seconds_is_told_them_and_the_study_shows_what_they_say(
    house: Running, worker: ScriptedWorker
) -> None:
    house.started(worker, **BUDGET)
    before = house.study("s1")["costs"]
    assert [cost["model"] for cost in before] == ["models/tiny"]
    assert before[0]["seconds_per_trial"][0] == 12.5, "the inspection's estimate"
    for _ in range(6):
        worker.train(worker.take())
    trials = house.trials("s1")
    told = [trial.system_attrs[SECONDS] for trial in house.optuna()]
    assert told == [trial["seconds"] for trial in trials]
    after = house.study("s1")["costs"][0]["seconds_per_trial"]
    assert len(after) == 7
    assert after[0] < 12.5, "an epoch takes a second"
    assert {trial["params"]["epochs"] for trial in trials[1:4]} != {3}, "the first ones are cheap"


def test_a_study_with_a_number_of_trials_tells_its_search_nothing(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    worker.train(worker.take())
    (trial,) = house.optuna()
    assert SECONDS not in trial.system_attrs


def test_a_machine_gets_the_queued_trial_whose_frozen_part_it_has(house: Running) -> None:
    first, second = house.worker("a"), house.worker("b")
    first.about, second.about = {"host": "one"}, {"host": "two"}
    house.started(first, **BUDGET)
    first.train(first.take())
    for worker, depth in ((first, 6), (second, 3)):
        number = enqueued(house, freeze_depth=depth)
        a = worker.take()
        assert a.number == number
        worker.train(a)
    shallow, deep = (enqueued(house, freeze_depth=depth, epochs=2) for depth in (3, 6))
    assert shallow < deep
    assert first.take().number == deep
    assert second.take().number == shallow
