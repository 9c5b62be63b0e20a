"""When a study ends, and what it says then."""

from typing import Any

import pytest

from luthier.studies.protocol import AssignmentKind, Decision
from tests.support.harness import Running, ScriptedWorker, held, problem, spec
from tests.support.tiers import a_few

pytestmark = pytest.mark.both_databases


def test_the_budget_of_trials_is_met_exactly(house: Running) -> None:
    study = house.finished(budget={"trials": 3}, parallel=5)
    assert study["counts"]["complete"] == 3
    assert study["message"] == "All 3 trials of the budget are done."


def test_wall_clock_time(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"wall_clock_seconds": 100})
    a = worker.take()
    assert worker.report(a, 1, 0.6) is Decision.CONTINUE
    house.move_clock(25)
    house.reap()
    assert worker.renew(a) is Decision.CONTINUE
    house.move_clock(29)
    worker.renew(a)
    house.move_clock(29)
    worker.renew(a)
    house.move_clock(20)
    house.reap()
    assert worker.claim() is None, "no new trial"
    assert worker.report(a, 2, 0.7) is Decision.STOP, "what runs ends at its next evaluation"
    worker.finish(a, reason="budget")
    trial = house.trials()[0]
    assert trial["state"] == "complete"
    assert trial["reason"] == "budget"
    assert trial["value"] == 0.7
    a = worker.take(AssignmentKind.EVALUATE)
    worker.finish(a, evaluation={"test": {"accuracy": 0.5}, "model": worker.write(a, "model.tar.gz", b"x")})
    study = house.study()
    assert study["state"] == "completed"
    assert "100 seconds of wall-clock" in study["message"]


def test_gpu_seconds(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"gpu_seconds": 10}, parallel=1)
    for seconds in (4.0, 5.0, 3.0):
        a = worker.take()
        worker.report(a, 1, 0.6)
        worker.finish(a, seconds=seconds)
    assert worker.take(AssignmentKind.EVALUATE)
    study = house.study()
    assert study["counts"]["complete"] == 3
    assert study["gpu_seconds"] == pytest.approx(12.0)
    assert "10 GPU seconds" in study["message"]


@pytest.mark.parametrize(
    ("objective", "target", "values"),
    [
        ({"metric": "accuracy"}, 0.8, (0.7, 0.79, 0.8)),
        ({"metric": "loss"}, 0.2, (0.5, 0.0, None)),
        ({"metric": "matthews"}, 0.5, (-0.1, 0.0, 0.5)),
    ],
)
def test_the_target(
    house: Running, worker: ScriptedWorker, objective: dict[str, Any], target: float, values: tuple[Any, ...]
) -> None:
    house.started(worker, budget={"trials": 9, "target": target}, objective=objective, parallel=1)
    for value in values:
        if value is None:
            break
        a = worker.take()
        worker.post("report", **held(a), step=1, metrics={objective["metric"]: value})
        worker.finish(a)
    assert worker.take(AssignmentKind.EVALUATE)
    study = house.study()
    assert f"reached the target {target:g}" in study["message"]
    assert study["best"]["trial"] == study["counts"]["complete"] - 1


@pytest.mark.parametrize("completed", [0, 1])
def test_the_budget_of_failures(house: Running, worker: ScriptedWorker, completed: int) -> None:
    house.started(worker, budget={"trials": 9, "failures": 2})
    if completed:
        worker.train(worker.take())
    for i in (1, 2):
        worker.finish(worker.take(), "failed", reason="error", problem={"message": f"The disk is full ({i})."})
    if completed:
        worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    assert worker.claim() is None
    study = house.study()
    assert study["state"] == "failed"
    assert study["error"].startswith("2 trials failed, which is the budget's limit.")
    assert ("No trial ran to its end. Of 2 trials, 2 failed" in study["error"]) == (completed == 0)
    assert bool(study["model"]) == bool(completed)
    assert house.client.get("/v1/studies/s1/model").status_code == (200 if completed else 404)


def test_no_complete_trial_is_a_failure_with_the_commonest_error(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 3}, parallel=1)
    for text in ("A flake.", "The disk is full.\nTraceback", "The disk is full.\nTraceback"):
        worker.finish(worker.take(), "failed", reason="error", problem={"message": text})
    study = house.study()
    assert study["state"] == "failed"
    assert study["best"] is None
    assert study["model"] is None
    assert study["error"] == (
        "No trial ran to its end. Of 3 trials, 3 failed with an error (`luthier logs s1 N` shows trial N). "
        "The commonest error (of trial 1): The disk is full."
    )
    problem(house.client.get("/v1/studies/s1/model"), 404)


ENDS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "diverged": (
        {"status": "pruned", "reason": "diverged"},
        {},
        "diverged, their loss became NaN or infinite (lower space.learning_rate.high, which is 0.001)",
    ),
    "diverged at choices": (
        {"status": "pruned", "reason": "diverged"},
        {"space": {"learning_rate": [0.5, 10], "epochs": 1}},
        "leave the largest out of space.learning_rate, which goes up to 10",
    ),
    "diverged at a fixed rate": (
        {"status": "pruned", "reason": "diverged"},
        {"space": {"learning_rate": 7, "batch_size": [8, 16], "epochs": 1}},
        "lower space.learning_rate, which is 7",
    ),
    "diverged at the default": (
        {"status": "pruned", "reason": "diverged"},
        {"space": {"batch_size": [8, 16], "epochs": 1}},
        "lower space.learning_rate, which is 5e-05",
    ),
    "oom": ({"reason": "oom"}, {}, "did not fit in memory, even one example at a time (lower space.max_length"),
    "timeout": (
        {"reason": "timeout"},
        {"budget": {"trials": 2, "trial_seconds": 60}},
        "took too long (raise budget.trial_seconds, which is 60",
    ),
    "a lost worker": ({"reason": "lost_worker"}, {}, "lost their workers too often (the workers' logs"),
    "bad data": ({"reason": "bad_data"}, {}, "could not use the model or the data"),
    "pruned": ({"status": "pruned"}, {}, "were ended early by the pruner (take pruner.name: none"),
}


@pytest.mark.parametrize("kind", a_few(4, ENDS))
def test_a_study_without_a_complete_trial_says_how_they_ended_and_the_cure(house_sqlite: Running, kind: str) -> None:
    house, worker = house_sqlite, house_sqlite.worker()
    outcome, changes, text = ENDS[kind]
    name = kind.replace(" ", "-")
    house.started(worker, name, **{"budget": {"trials": 2}, "parallel": 1, **changes})
    told = {"status": "failed"} | outcome
    if told["status"] == "failed":
        told["problem"] = {"message": "What the library said."}
    for _ in range(2):
        worker.finish(worker.take(), **told)
    study = house.study(name)
    assert study["state"] == "failed"
    assert f"No trial ran to its end. Of 2 trials, 2 {text}" in study["error"] or text in study["error"]
    assert ("The commonest error (of trial 0): What the library said." in study["error"]) == ("problem" in told)


def test_several_ways_are_counted_the_commonest_first(house_sqlite: Running) -> None:
    house, worker = house_sqlite, house_sqlite.worker()
    house.started(worker, "several", budget={"trials": 4}, parallel=1)
    worker.finish(worker.take(), "failed", reason="oom", problem={"message": "CUDA out of memory."})
    for _ in range(3):
        worker.finish(worker.take(), "pruned", reason="diverged")
    error = house.study("several")["error"]
    assert error.startswith("No trial ran to its end. Of 4 trials, 3 diverged")
    assert "; 1 did not fit in memory" in error
    assert error.endswith("The commonest error (of trial 0): CUDA out of memory.")


def test_a_study_that_is_stopped_says_so_too(house_sqlite: Running) -> None:
    house, worker = house_sqlite, house_sqlite.worker()
    house.started(worker, "stopped", budget={"trials": 4}, parallel=1)
    worker.finish(worker.take(), "pruned", reason="diverged")
    house.client.post("/v1/studies/stopped/stop")
    study = house.study("stopped")
    assert study["state"] == "stopped"
    assert study["message"].startswith("Stopped on request. No trial ran to its end. Of 1 trial, 1 diverged")
    house.started(worker, "unbegun", budget={"trials": 4})
    house.client.post("/v1/studies/unbegun/stop")
    assert house.study("unbegun")["message"] == "Stopped on request. No trial was started."


@pytest.mark.parametrize("sampler", a_few(1, ["grid", "random", "tpe"]))
def test_an_exhausted_space_completes_early(house: Running, sampler: str) -> None:
    space = {"learning_rate": [1e-4, 1e-3], "batch_size": [8, 16], "epochs": 2}
    study = house.finished(space=space, sampler={"name": sampler}, budget={"trials": 30})
    assert study["state"] == "completed"
    assert study["counts"]["complete"] == 4
    assert study["message"] == "The space is exhausted: all of its 4 configurations were run."
    configurations = {(trial["params"]["learning_rate"], trial["params"]["batch_size"]) for trial in house.trials()}
    assert len(configurations) == 4


def test_a_winner_that_cannot_be_measured_fails_the_study(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 1})
    worker.train(worker.take())
    a = worker.take(AssignmentKind.EVALUATE)
    worker.finish(a, "failed", reason="error", problem={"message": "The disk is full."})
    study = house.study()
    assert study["state"] == "failed"
    assert "The disk is full." in study["error"]
    assert study["best"]["trial"] == 0
    assert study["best"]["test"] is None


def test_a_paused_study_whose_budget_is_used_up_still_ends(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 1})
    a = worker.take()
    house.client.post("/v1/studies/s1/pause").raise_for_status()
    worker.work(a)
    assert "is ending already" in problem(house.client.post("/v1/studies/s1/stop"), 409)["detail"]
    worker.drain()
    study = house.study()
    assert study["state"] == "completed"
    assert study["model"] is not None


TIMED = {"budget": {"trials": 2, "trial_seconds": 60}, "parallel": 1}


def test_a_trial_whose_time_is_over_keeps_its_best_score(house: Running) -> None:
    worker = house.worker()
    house.started(worker, **TIMED)
    a = worker.take()
    assert worker.report(a, 1, 0.6, timed_seconds=59.0) is Decision.CONTINUE
    worker.post("renew", **held(a), timed_seconds=59.5)
    worker.finish(a, "released")
    again = worker.take()
    assert again.timed_seconds == 59.5, "what attempts before have used counts, also between evaluations"
    assert worker.report(again, 2, 0.5, timed_seconds=61.0) is Decision.STOP
    worker.finish(again, reason="budget", timed_seconds=61.5)
    (trial,) = house.trials()
    assert (trial["state"], trial["reason"], trial["value"]) == ("complete", "timeout", 0.6)
    other = worker.take()
    assert other.timed_seconds == 0
    worker.report(other, 1, 0.7)
    worker.finish(other, "failed", reason="timeout", problem={"message": "too long"}, timed_seconds=60.0)
    assert [trial["state"] for trial in house.trials()] == ["complete"] * 2
    assert worker.take(AssignmentKind.EVALUATE).number == 1
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE"] * 2


def test_a_trial_without_a_score_fails_when_its_time_is_over_as_all_did_before(house_sqlite: Running) -> None:
    house, worker = house_sqlite, house_sqlite.worker()
    house.started(worker, "timed", **TIMED)
    a = worker.take()
    assert worker.report(a, 1, None, timed_seconds=99.0) is Decision.CONTINUE, "the worker's own clock ends it"
    worker.finish(a, "failed", reason="timeout", problem={"message": "too long"}, timed_seconds=99.0)
    house.client.post("/v1/studies/timed/cancel")
    assert house.client.post("/v1/studies?semantics=4", json=spec("before", **TIMED)).status_code == 201
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    b = worker.take()
    assert worker.report(b, 1, 0.6) is Decision.CONTINUE
    worker.finish(b, "failed", reason="timeout", problem={"message": "too long"})
    house.client.post("/v1/studies/before/cancel")
    for name in ("timed", "before"):
        trial = house.trials(name)[0]
        assert (trial["state"], trial["reason"], trial["error"]) == ("failed", "timeout", "too long")
