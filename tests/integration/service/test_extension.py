"""A study gets more budget and goes on: its search's memory, its winner until the next end, and what is refused."""

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import AssignmentKind
from luthier.studies.spec import trial_seed
from tests.support.harness import Running, ScriptedWorker, paths, problem, running, spec
from tests.support.nightly import Nightly
from tests.support.tiers import a_few

pytestmark = pytest.mark.both_databases
GRID = {"learning_rate": [1e-5, 1e-4], "batch_size": [8, 16], "epochs": 1}


def extend(house: Running, name: str = "s1", **budget: Any) -> httpx.Response:
    return house.client.post(f"/v1/studies/{name}/extend", json={"budget": budget})


def extended(house: Running, **budget: Any) -> dict[str, Any]:
    answer = extend(house, **budget)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_completed_study_goes_on_with_its_search(house: Running, worker: ScriptedWorker) -> None:
    """The trials are those that the larger budget would have had from the start, and the best is measured anew."""
    before = house.finished(budget={"trials": 4}, parallel=1)
    first = house.trials()
    model = house.client.get("/v1/studies/s1/model").content
    assert before["best"]["test_looks"] == 1

    study = extended(house, trials=9)
    assert study["state"] == "running"
    assert study["finished_at"] is None
    assert study["best"]["test"] is None
    assert f"model is that of trial {before['best']['trial']}" in study["message"]
    assert study["model"] == before["model"] | {"is_earlier": True}
    worker.work(worker.take())
    assert house.client.get("/v1/studies/s1/model").content == model, "until another one replaces it"
    worker.drain()

    study = house.study()
    assert study["state"] == "completed"
    assert study["message"] == "All 9 trials of the budget are done."
    assert [trial | {"files": []} for trial in house.trials()[:4]] == [trial | {"files": []} for trial in first]
    assert [trial.number for trial in house.optuna()] == list(range(9))
    assert study["best"]["test_looks"] == 2
    assert study["best"]["test"] is not None
    best = max(house.trials(), key=lambda trial: (trial["value"], -trial["number"]))
    assert study["best"]["trial"] == best["number"]
    assert house.client.get("/v1/studies/s1/model").status_code == 200
    house.finished("s2", budget={"trials": 9}, parallel=1)
    assert [trial["params"] for trial in house.trials("s2")] == [trial["params"] for trial in house.trials()]


@pytest.mark.full
def test_the_winner_of_before_may_win_again(house: Running, worker: ScriptedWorker) -> None:
    """Its model is packed in its own folder; the one of before is whole to the moment of the exchange."""
    house.started(worker, budget={"trials": 2}, parallel=1)
    scores = iter([0.9, 0.6, 0.5, 0.4])
    worker.score = lambda params, step, values=scores, seen={}: seen.setdefault(str(params), next(values, 0.1))  # type: ignore[misc]
    worker.drain()
    assert house.study()["best"]["trial"] == 0
    model = house.client.get("/v1/studies/s1/model").content
    extended(house, trials=4)
    while (a := worker.claim()) is not None and a.kind is not AssignmentKind.EVALUATE:
        worker.work(a)
    assert a is not None
    packed = worker.write(a, "model.tar.gz", b"the new one")
    assert house.client.get("/v1/studies/s1/model").content == model
    worker.finish(a, evaluation={"test": {"accuracy": 0.5}, "model": packed})
    assert house.client.get("/v1/studies/s1/model").content == b"the new one"
    assert {name: told for name, told in house.study()["best"].items() if told is not None} | {"params": {}} == {
        "trial": 0,
        "value": 0.9,
        "params": {},
        "test": {"accuracy": 0.5},
        "test_looks": 2,
    }


@pytest.mark.full
def test_the_same_totals_again_change_nothing(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 2})
    first = extended(house, trials=3)
    assert extended(house, trials=3) == first
    worker.drain()
    assert house.study()["counts"]["complete"] == 3
    assert paths(extend(house, trials=3)) == {"budget.trials"}


@pytest.mark.full
def test_the_spec_that_created_it_still_means_this_study(house: Running) -> None:
    house.finished(budget={"trials": 2})
    extended(house, trials=3)
    for trials in (2, 3):
        again = house.client.post("/v1/studies", json=spec(budget={"trials": trials}))
        assert again.status_code == 200, again.text
    assert (
        "luthier extend s1" in problem(house.client.post("/v1/studies", json=spec(budget={"trials": 5})), 409)["detail"]
    )


@pytest.mark.parametrize("state", a_few(1, ["paused", "running", "queued"]))
def test_the_budget_of_one_that_has_not_ended_grows(house: Running, worker: ScriptedWorker, state: str) -> None:
    house.create(budget={"trials": 2}, parallel=1)
    if state != "queued":
        worker.inspect(worker.take(AssignmentKind.INSPECT))
    if state == "paused":
        house.client.post("/v1/studies/s1/pause").raise_for_status()
    assert extended(house, trials=3)["state"] == state
    assert house.study()["spec"]["budget"]["trials"] == 3
    if state == "paused":
        assert worker.claim() is None
        house.client.post("/v1/studies/s1/resume").raise_for_status()
    worker.drain()
    assert house.study()["counts"]["complete"] == 3


@pytest.mark.parametrize("verb", a_few(1, ["stop", "cancel"]))
def test_one_that_was_stopped_goes_on_with_what_is_left(house: Running, worker: ScriptedWorker, verb: str) -> None:
    house.started(worker, budget={"trials": 4}, parallel=1)
    worker.work(worker.take())
    house.client.post(f"/v1/studies/s1/{verb}").raise_for_status()
    worker.drain()
    assert house.study()["state"] == {"stop": "stopped", "cancel": "cancelled"}[verb]
    assert extended(house)["state"] == "running"
    worker.drain()
    study = house.study()
    assert study["state"] == "completed"
    assert study["counts"]["complete"] == 4
    assert study["best"]["test_looks"] == (2 if verb == "stop" else 1)


def test_wall_clock_time_stands_still_between_an_end_and_an_extension(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"wall_clock_seconds": 100}, parallel=1)
    worker.work(worker.take())
    house.move_clock(101)
    house.reap()
    worker.drain()
    assert house.study()["state"] == "completed"
    house.move_clock(5000)
    refused = problem(extend(house, wall_clock_seconds=101), 422)
    assert "budget.wall_clock_seconds: must be more than 101" in refused["detail"]
    extended(house, wall_clock_seconds=200)
    house.move_clock(50)
    worker.work(worker.take())
    house.move_clock(50)
    house.reap()
    worker.drain()
    study = house.study()
    assert study["state"] == "completed"
    assert "200 seconds of wall-clock" in study["message"]
    assert study["counts"]["complete"] == 2


@pytest.mark.full
def test_a_target_that_was_reached_is_raised_or_removed(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 5, "target": 0.5}, parallel=1)
    worker.drain()
    assert house.study()["counts"]["complete"] == 1
    assert paths(extend(house, trials=6)) == {"budget.target"}
    assert "trial 0 has reached" in problem(extend(house, target=0.51), 422)["detail"]
    assert "at least as good" in problem(extend(house, target=0.1), 422)["detail"]
    extended(house, target=None)
    worker.drain()
    assert house.study()["counts"]["complete"] == 5


@pytest.mark.full
def test_a_study_that_failed_by_its_failures_goes_on(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 4, "failures": 1}, parallel=1)
    worker.finish(worker.take(), "failed", reason="error", problem={"message": "Bad luck."})
    assert house.study()["state"] == "failed"
    assert "all 1 are used" in problem(extend(house, trials=5), 422)["detail"]
    study = extended(house, failures=3)
    assert (study["state"], study["error"]) == ("running", None)
    worker.drain()
    study = house.study()
    assert study["state"] == "completed"
    assert (study["counts"]["complete"], study["counts"]["failed"]) == (3, 1)


@pytest.mark.full
def test_one_whose_winner_could_not_be_measured(house: Running, worker: ScriptedWorker) -> None:
    """Its model is none; and where a later end cannot be measured, `resume` measures it, with the old model kept."""
    house.started(worker, budget={"trials": 1})
    worker.work(worker.take())
    fault = {"problem": {"message": "A library is damaged."}, "reason": "error"}
    worker.finish(worker.take(AssignmentKind.EVALUATE), "failed", **fault)
    assert extended(house, trials=2)["error"] is None
    house.reap()
    worker.drain()
    study = house.study()
    assert (study["state"], study["best"]["test_looks"]) == ("completed", 1)
    extended(house, trials=3)
    worker.work(worker.take())
    worker.finish(worker.take(AssignmentKind.EVALUATE), "failed", **fault)
    failed = house.study()
    assert (failed["state"], failed["best"]["test"], failed["model"]["sha256"]) == (
        "failed",
        None,
        study["model"]["sha256"],
    )
    assert house.client.get("/v1/studies/s1/model").status_code == 200
    house.client.post("/v1/studies/s1/resume").raise_for_status()
    worker.drain()
    assert house.study()["best"]["test_looks"] == 2


def test_what_is_refused(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 3, "gpu_seconds": 100}, parallel=1)
    assert "must be at least the present total (3)" in problem(extend(house, trials=2), 422)["detail"]
    assert paths(extend(house, trials=1, gpu_seconds=9)) == {"budget.trials", "budget.gpu_seconds"}
    assert paths(extend(house, epochs=3)) == {"budget.epochs"}
    assert paths(extend(house, trials=0)) == {"budget.trials"}
    assert paths(extend(house, trials=None, gpu_seconds=None)) == {"budget"}
    assert paths(house.client.post("/v1/studies/s1/extend", json={})) == {"budget"}
    problem(extend(house, "another", trials=5), 404)
    worker.work(worker.take())
    house.client.post("/v1/studies/s1/stop").raise_for_status()
    assert "just ending" in problem(extend(house, trials=5), 409)["detail"]
    house.create("s2")
    bad = {"message": "There is no such file."}
    worker.finish(worker.take(AssignmentKind.INSPECT), "failed", reason="bad_data", problem=bad)
    assert "never came to its first trial" in problem(extend(house, "s2", trials=5), 409)["detail"]
    assert house.study()["spec"]["budget"]["trials"] == 3


@pytest.mark.full
def test_a_space_that_is_exhausted(house: Running) -> None:
    house.finished(space=GRID, sampler={"name": "grid"}, budget={"trials": 50})
    said = problem(extend(house, trials=60), 409)["detail"]
    assert "All 4 configurations of s1's space were run" in said
    assert "from: {study: s1}" in said
    assert house.study()["state"] == "completed"


@pytest.mark.full
def test_a_study_of_a_schedule_stays_as_it_is(house: Running, nightly: Any) -> None:
    run: Nightly = nightly()
    name = str(run.run("a")["study"])
    assert "belongs to a schedule" in problem(extend(house, name, trials=50), 409)["detail"]


@pytest.mark.full
def test_repetitions_are_those_of_todays_best(house: Running, worker: ScriptedWorker) -> None:
    """The best of before are not trained again; new ones are, beside them, and the best mean of all wins."""
    values = [0.5, 0.9, 0.6, 0.8, 0.95]
    again = {1: [0.6, 0.7], 3: [0.75, 0.79], 4: [0.5, 0.5]}
    seeds = {trial_seed(0, n, i + 1): value for n, scores in again.items() for i, value in enumerate(scores)}
    repeated: list[int] = []

    def play() -> dict[str, Any]:
        while (a := worker.claim()) is not None:
            value = values[a.number or 0] if a.kind is AssignmentKind.TRAIN else seeds.get(a.seed, 0.0)
            worker.score = lambda params, step, value=value: value  # type: ignore[misc]
            repeated.extend([a.seed] if a.kind is AssignmentKind.CONFIRM else [])
            worker.work(a)
        return house.study()

    house.create(confirm={"candidates": 2, "seeds": 2}, budget={"trials": 4}, parallel=1)
    assert play()["best"]["trial"] == 3
    extended(house, trials=5)
    study = play()
    assert [(c["trial"], sorted(c["values"])) for c in study["confirmed"]] == [(4, [0.5, 0.5]), (1, [0.6, 0.7])]
    assert study["best"]["trial"] == 1
    assert study["state"] == "completed"
    fresh = [seed for seed in dict.fromkeys(repeated) if seeds[seed] == 0.5]
    assert len(fresh) == 2
    assert house.client.get("/v1/studies/s1/model").status_code == 200


@pytest.mark.full
def test_two_services_extend_one_study(database_url: str, tmp_path: Path) -> None:
    """Both get an answer, the larger total holds, and no trial is drawn twice."""
    with running(tmp_path / "home", database_url) as one, running(tmp_path / "home", database_url) as two:
        one.finished(budget={"trials": 2}, parallel=2)
        answers: list[httpx.Response] = []
        threads = [threading.Thread(target=lambda h=h: answers.append(extend(h, trials=6))) for h in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [answer.status_code for answer in answers] == [200, 200]
        first, second = one.worker("a"), two.worker("b")
        for _ in range(4):
            for worker in (first, second):
                a = worker.claim()
                if a is not None:
                    worker.work(a)
        first.drain()
        study = two.study()
        assert study["state"] == "completed"
        assert [trial["number"] for trial in two.trials()] == list(range(6))
        assert [trial.number for trial in two.optuna()] == list(range(6))
        assert study["best"]["test_looks"] == 2
        with one.core.database.reading() as session:
            assert session.get_one(StudyRow, 1).winner == study["best"]["trial"]
