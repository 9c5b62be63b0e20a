"""Pause and promote: trials that wait at a rung with their files, and go on from there when they are among the best."""

import itertools
import random
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.studies.protocol import Assignment, Decision
from tests.support import several_services
from tests.support.harness import Running, ScriptedWorker, Stale, problem, running, score, spec
from tests.support.several_services import processes

RATES = {"low": 1e-6, "high": 1e-3, "log": True}
TRIALS = "/v1/studies/s1/trials"
KILLS = 5


def asha(**changes: Any) -> dict[str, Any]:
    """Return the keys of a study whose trials pause after 1 and 3 of 9 evaluations."""
    keys: dict[str, Any] = {
        "space": {"learning_rate": RATES, "epochs": 9},
        "pruner": {"name": "asha"},
        "budget": {"trials": 9},
        "parallel": 1,
    }
    return keys | changes


def as_shown(trials: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what must not depend on what was killed: of each trial its configuration, end, score and evaluations."""
    keys = ("number", "params", "state", "reason", "value")
    return [(*(t[key] for key in keys), [(v["step"], v["metrics"]) for v in t["values"]]) for t in trials]


def shown(house: Running, name: str = "s1") -> list[tuple[Any, ...]]:
    return as_shown(house.trials(name))


def states(house: Running) -> list[str]:
    return [trial["state"] for trial in house.trials()]


def begin(house: Running, worker: ScriptedWorker, paused: int, **changes: Any) -> None:
    """Start a study, and work until so many of its trials are paused and none runs."""
    house.started(worker, **asha(**changes))
    while house.study()["counts"]["paused"] < paused:
        worker.work(worker.take())


@pytest.mark.full
@pytest.mark.both_databases
def test_each_evaluation_is_trained_once_and_the_best_is_trained_whole(house: Running, worker: ScriptedWorker) -> None:
    trained: list[tuple[float, int]] = []
    formula = worker.score

    def train(params: dict[str, Any], step: int) -> float:
        trained.append((params["learning_rate"], step))
        return formula(params, step)

    worker.score = train
    house.create("s1", **asha())
    worker.drain()
    study, trials = house.study(), house.trials()
    assert study["state"] == "completed"
    assert {state: count for state, count in study["counts"].items() if count} == {"complete": 2, "pruned": 7}
    assert len(trained) == len(set(trained)) == sum(len(trial["values"]) for trial in trials)
    lengths = [len(trial["values"]) for trial in trials]
    assert set(lengths) == {1, 3, 9}
    assert [trial["state"] == "complete" for trial in trials] == [length == 9 for length in lengths]
    best = trials[study["best"]["trial"]]
    assert best["value"] == max(trial["value"] for trial in trials)
    assert best["state"] == "complete"
    assert max(trial["attempt"] for trial in trials) > 1, "one was promoted"
    told = house.optuna()
    assert [trial.state.name for trial in told] == [trial["state"].upper() for trial in trials]
    assert [list(trial.intermediate_values) for trial in told] == [list(range(1, length + 1)) for length in lengths]
    kept = {path.name for path in house.settings.store_folder.glob("*/*")}
    assert not {name for name in kept if name.startswith("resume")}


@pytest.mark.both_databases
def test_a_paused_trial_costs_no_worker_and_is_promoted_before_a_new_one_is_drawn(
    house: Running, worker: ScriptedWorker
) -> None:
    values = {0: 0.9, 1: 0.5, 2: 0.6, 3: 0.4, 4: 0.3, 5: 0.8}
    numbers: dict[float, int] = {}
    worker.score = lambda params, step: values[numbers[params["learning_rate"]]] + step / 1000
    house.started(worker, **asha())

    def take(number: int, step: int) -> Assignment:
        a = worker.take()
        numbers.setdefault(a.params["learning_rate"], len(numbers))
        assert (a.number, a.checkpoint.step) == (number, step)
        return a

    worker.train(take(0, 0))
    for number in (1, 2, 3):
        worker.train(take(number, 0))
    assert states(house) == ["complete", "paused", "paused", "paused"]
    assert house.study()["counts"]["paused"] == 3
    trial = house.get(f"{TRIALS}/2")
    assert (trial["worker"] is None, trial["attempt"], trial["reason"]) == (False, 1, None)
    assert {"resume-1", "best-1"} == {file["name"] for file in trial["files"]}
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE", "RUNNING", "RUNNING", "RUNNING"]
    worker.train(take(4, 0))
    worker.train(take(5, 0), steps=1)  # the best of six, of which two pass the first rung
    assert states(house)[2] == "paused", "nothing is promoted while as many run as may"
    assert worker.claim() is None


def test_a_claim_gets_the_best_paused_trial_and_its_file(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, **asha())
    values = iter([0.9, 0.5, 0.6, 0.1, 0.1, 0.1])
    for _ in range(6):
        a = worker.take()
        value = next(values)
        worker.score = lambda params, step, value=value: value  # type: ignore[misc]
        worker.train(a)
    a = worker.take()
    assert (a.number, a.attempt, a.checkpoint.step) == (2, 2, 1), "the second best of six"
    assert a.checkpoint.resume is not None
    assert (Path(a.store) / a.checkpoint.resume.name).read_bytes() == b"2 1"
    assert house.study()["counts"]["paused"] == 4


@pytest.mark.parametrize("named", [*(pytest.param(n, marks=pytest.mark.full) for n in ("gone", "other content")), None])
def test_a_pause_without_a_whole_file_queues_the_trial_anew(
    house: Running, worker: ScriptedWorker, named: str | None
) -> None:
    begin(house, worker, 1)
    a = worker.take()
    ref = worker.write(a, "r", b"resume") if named == "other content" else None
    if named == "other content":
        (Path(a.store) / "r").write_bytes(b"else")
    elif named:
        ref = {"name": "r", "sha256": "0" * 64, "bytes": 3}
    assert worker.report(a, 1, 0.1) is Decision.PAUSE
    worker.finish(a, "paused", resume=ref)
    assert states(house)[-1] == "queued"
    again = worker.take()
    assert (again.number, again.attempt, again.checkpoint.step) == (a.number, 2, 0)
    worker.score = lambda params, step: 0.1
    worker.train(again)
    assert states(house)[-1] == "paused"


@pytest.mark.full
def test_a_trial_that_never_brings_its_file_is_let_past_the_rung(house: Running, worker: ScriptedWorker) -> None:
    begin(house, worker, 1)
    for _ in range(5):
        a = worker.take()
        assert worker.report(a, 1, 0.1) is Decision.PAUSE
        worker.finish(a, "paused")
    a = worker.take()
    assert (a.number, worker.report(a, 1, 0.1)) == (2, Decision.CONTINUE)


@pytest.mark.full
def test_a_worker_that_pauses_at_no_rung_gives_the_trial_back(house: Running, worker: ScriptedWorker) -> None:
    begin(house, worker, 1)
    a = worker.take()
    worker.finish(a, "paused", resume=worker.write(a, "r", b"resume"))
    assert states(house)[-1] == "queued"


@pytest.mark.full
def test_a_repeated_pause_changes_nothing(house: Running, worker: ScriptedWorker) -> None:
    begin(house, worker, 1)
    a = worker.take()
    assert worker.report(a, 1, 0.1) is worker.report(a, 1, 0.1) is Decision.PAUSE
    ref = worker.write(a, "r", b"resume")
    worker.finish(a, "paused", resume=ref)
    worker.finish(a, "paused", resume=ref)
    assert house.study()["counts"]["paused"] == 2


@pytest.mark.full
@pytest.mark.both_databases
def test_a_lost_worker_goes_on_as_decided_before(house: Running, worker: ScriptedWorker) -> None:
    """Its trial was let past the rung; since then others are better there, and the file is damaged."""
    house.started(worker, **asha(parallel=3))
    baseline, one, two = worker.take(), worker.take(), worker.take()
    for a, value in ((baseline, 0.5), (one, 0.4), (two, 0.6)):
        decision = worker.report(a, 1, value)
    assert decision is Decision.CONTINUE
    house.move_clock(31)
    house.reap()
    again = [worker.take() for _ in range(3)]
    (passed,) = [a for a in again if a.number == 2]
    (paused,) = [a for a in again if a.number == 1]
    assert worker.report(paused, 1, 0.9) is Decision.PAUSE, "its score is the one that is recorded"
    assert worker.report(passed, 1, 0.0) is Decision.CONTINUE


@pytest.mark.full
@pytest.mark.both_databases
def test_samplers_see_a_paused_trial_as_pruned_there(house: Running, worker: ScriptedWorker) -> None:
    """The same configurations are drawn as in a study whose trials were pruned at the same evaluations."""
    space = {"learning_rate": RATES, "epochs": 2}
    budget, sampler = {"trials": 8}, {"name": "tpe", "startup_trials": 2}
    worker.score = lambda params, step: -abs(params["learning_rate"] - 2e-4)
    keys = asha(space=space, budget=budget, sampler=sampler)
    house.create("paused", **keys | {"pruner": {"name": "asha", "reduction_factor": 100}})
    worker.drain()
    house.started(worker, "pruned", **keys | {"pruner": {"name": "halving", "reduction_factor": 100}})
    for _ in range(8):
        a = worker.take()
        worker.report(a, 1, worker.score(a.params, 1))
        if a.number == 0:
            worker.report(a, 2, worker.score(a.params, 2))
        worker.finish(a, "pruned" if a.number else "complete")
    assert [t["params"] for t in house.trials("paused")] == [t["params"] for t in house.trials("pruned")]


@pytest.mark.full
def test_pasha_trains_further_only_while_the_ranking_changes(house: Running, worker: ScriptedWorker) -> None:
    pruner = {"name": "asha", "growth": "pasha", "reduction_factor": 2}
    space = {"learning_rate": RATES, "epochs": 16}  # rungs: 1, 2, 4, 8
    house.create("still", **asha(space=space, pruner=pruner))
    worker.drain()
    lengths = sorted(len(trial["values"]) for trial in house.trials("still"))
    assert set(lengths[:-2]) == {1, 2}
    assert lengths[-2:] == [16, 16], "the baseline, and the best of the highest rung at the end"

    flip = worker.score
    worker.score = lambda params, step: flip(params, step) if step == 1 else 1.5 - flip(params, step)
    house.create("changing", **asha(space=space, pruner=pruner))
    worker.drain()
    lengths = sorted(len(trial["values"]) for trial in house.trials("changing"))
    assert {4} <= set(lengths) <= {1, 2, 4, 8, 16}


@pytest.mark.full
@pytest.mark.both_databases
def test_a_study_that_is_paused_stopped_cancelled_or_out_of_time_leaves_none_paused(
    house: Running, worker: ScriptedWorker
) -> None:
    begin(house, worker, 2)
    house.client.post("/v1/studies/s1/pause")
    house.reap()
    assert worker.claim() is None
    assert house.study()["counts"]["paused"] == 2
    house.client.post("/v1/studies/s1/resume")
    house.client.post("/v1/studies/s1/stop")
    assert house.study()["counts"]["paused"] == 0
    worker.drain()
    assert house.study()["state"] == "stopped"
    assert states(house) == ["complete", "pruned", "pruned"]
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert house.client.post("/v1/studies/s1/extend", json={"budget": {"trials": 10}}).status_code == 200
    worker.drain()
    study = house.study()
    assert (study["state"], sum(study["counts"].values()), study["counts"]["paused"]) == ("completed", 10, 0)

    house.started(worker, "s2", **asha())
    for _ in range(3):
        worker.work(worker.take())
    assert house.study("s2")["counts"]["paused"] == 2
    house.client.post("/v1/studies/s2/cancel")
    assert house.study("s2")["counts"] | {"complete": 1, "cancelled": 2} == house.study("s2")["counts"]


@pytest.mark.full
@pytest.mark.parametrize(("value", "end"), [(0.95, "complete"), (0.3, "pruned")])
def test_time_that_is_up_ends_the_best_as_complete(
    house: Running, worker: ScriptedWorker, value: float, end: str
) -> None:
    house.started(worker, **asha(budget={"wall_clock_seconds": 100}))
    worker.score = lambda params, step: 0.7
    worker.train(worker.take())
    worker.score = lambda params, step: value
    worker.train(worker.take())
    assert states(house) == ["complete", "paused"]
    house.move_clock(101)
    house.reap()
    trial = house.get(f"{TRIALS}/1")
    assert (trial["state"], trial["reason"]) == (end, "budget" if end == "complete" else None)
    worker.drain()
    study = house.study()
    assert (study["state"], study["best"]["trial"]) == ("completed", 1 if end == "complete" else 0)


@pytest.mark.full
@pytest.mark.both_databases
def test_what_users_do_with_a_paused_trial(house: Running, worker: ScriptedWorker) -> None:
    begin(house, worker, 3)
    said = problem(house.client.post(f"{TRIALS}/1/retry"), 409)["detail"]
    assert "among the best of its rung" in said
    stopped = house.client.post(f"{TRIALS}/1/stop").json()
    assert (stopped["state"], stopped["reason"]) == ("complete", "stopped")
    assert house.optuna()[1].state.name == "COMPLETE"
    assert house.client.delete(f"{TRIALS}/2").status_code == 204
    assert house.optuna()[2].state.name == "FAIL"
    assert house.study()["counts"] | {"complete": 2, "paused": 1} == house.study()["counts"]
    assert {trial["number"] for trial in house.get(f"{TRIALS}?state=paused")["items"]} == {3}
    worker.drain()
    assert house.study()["state"] == "completed"


@pytest.mark.full
def test_a_space_that_is_exhausted_still_promotes(house: Running, worker: ScriptedWorker) -> None:
    house.create("s1", **asha(space={"learning_rate": [1e-6, 1e-5, 3e-5, 1e-4, 1e-3], "epochs": 9}, parallel=2))
    for _ in range(4):  # a claim that finds it exhausted finds nothing else
        worker.drain()
    study = house.study()
    assert (study["state"], study["counts"]["paused"]) == ("completed", 0)
    assert "exhausted" in study["message"]
    assert house.trials()[study["best"]["trial"]]["params"]["learning_rate"] == 1e-4
    assert len(house.trials()[study["best"]["trial"]]["values"]) == 9


@pytest.mark.full
def test_candidates_of_a_confirmation_are_trained_whole(house: Running, worker: ScriptedWorker) -> None:
    house.create("s1", **asha(confirm={"candidates": 3, "seeds": 2}))
    worker.drain()
    study = house.study()
    assert study["state"] == "completed"
    assert study["counts"]["complete"] >= 3
    assert [len(one["values"]) for one in study["confirmed"]] == [2, 2, 2]


@pytest.mark.full
def test_a_service_that_starts_again_goes_on_with_paused_trials(
    house: Running, worker: ScriptedWorker, database_url: str
) -> None:
    """Optuna lacks the evaluations of a paused trial: the service died before it told them."""
    house.create("s2", **asha())
    worker.drain()
    undisturbed = shown(house, "s2")
    begin(house, worker, 2)
    with house.core.database.engine.begin() as connection:
        last = "DELETE FROM trial_intermediate_values WHERE trial_id = (SELECT max(trial_id) FROM trials)"
        connection.exec_driver_sql(last)
    house.core.searches.forget(2)
    with running(house.settings.home, database_url) as other:
        again = other.worker("w2")
        again.drain()
    assert shown(house) == undisturbed


@pytest.mark.locks
@pytest.mark.both_databases
@pytest.mark.full
@pytest.mark.timeout(240)
def test_services_that_are_killed_leave_the_study_as_it_would_be(empty_url: str, tmp_path: Path) -> None:
    """They are killed while trials are paused, promoted and queued; two share the database where that is Postgres."""
    with running(tmp_path / "undisturbed", None) as house:
        house.create("s1", **asha(budget={"trials": 12}))
        house.worker().drain()
        undisturbed, winner = shown(house), house.study()["best"]["trial"]
    moments, ended = random.Random(5), threading.Event()
    with processes(tmp_path / "other", empty_url, 2 if empty_url.startswith("postgres") else 1) as services:
        several_services.create(services[0].url, **asha(budget={"trials": 12}))
        hands = [ScriptedWorker(service.url, patient_seconds=60) for service in services]
        trained: list[tuple[float, int]] = []
        lost: list[Assignment] = []

        def train(params: dict[str, Any], step: int) -> float:
            trained.append((params["learning_rate"], step))
            return score(params, step)

        def murder() -> None:
            for _ in range(KILLS):
                if ended.wait(moments.uniform(0.1, 1.0)):
                    return
                services[0].kill()
                services[0].start()
                httpx.get(f"{services[0].url}/healthz", timeout=60)

        murderer = threading.Thread(target=murder)
        murderer.start()
        try:
            for turn in itertools.count():
                hand = hands[turn % len(hands)]
                hand.score = train
                if (a := hand.claim(0.5)) is not None:
                    try:
                        hand.work(a)
                    except Stale:  # the service was away for longer than a lease
                        lost.append(a)
                if hands[0].send("GET", "/v1/studies/s1").json()["finished_at"] is not None:
                    break
        finally:
            ended.set()
            murderer.join()
        assert lost or len(trained) == len(set(trained)), "no evaluation was trained twice"
        disturbed = hands[0].send("GET", "/v1/studies/s1/trials?limit=500").json()["items"]
        best = hands[0].send("GET", "/v1/studies/s1").json()["best"]
        for hand in hands:
            hand.client.close()
        assert as_shown(disturbed) == undisturbed
        assert best["trial"] == winner


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"pruner": {"name": "asha", "growth": "much"}}, "pruner.growth", "none"),
        ({"pruner": {"name": "median", "growth": "pasha"}}, "pruner.growth", "no meaning"),
        ({"pruner": {"name": "asha", "percentile": 20}}, "pruner.percentile", "reduction_factor"),
        ({"pruner": {"name": "asha", "reduction_factor": 1}}, "pruner.reduction_factor", "2"),
        ({"space": {"learning_rate": RATES, "epochs": 1}}, "pruner.name", "raise space.epochs"),
    ],
)
def test_what_cannot_work_is_refused_with_its_path(
    house_sqlite: Running, changes: dict[str, Any], path: str, words: str
) -> None:
    body = problem(house_sqlite.client.post("/v1/studies", json=spec("bad", **asha(**changes))), 422)
    (error,) = body["errors"]
    assert error["path"] == path
    assert words in error["message"]


def test_trainers_of_users_cannot_pause(house_sqlite: Running) -> None:
    mine = {
        "name": "mine", "task": "external", "space": {"x": {"low": 0.0, "high": 1.0}}, "steps": 9,
        "objective": {"metric": "score", "direction": "maximize"}, "pruner": {"name": "asha"}, "budget": {"trials": 5},
    }  # fmt: skip
    (error,) = problem(house_sqlite.client.post("/v1/studies", json=mine), 422)["errors"]
    assert error["path"] == "pruner.name"
    assert "hyperband" in error["message"]
