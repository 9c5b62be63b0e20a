"""Trials of external studies, asked for, reported and told over HTTP as any program can."""

from typing import Any

import pytest

from tests.support import external
from tests.support.external_trainer import Trainer
from tests.support.harness import Running, problem, running
from tests.support.specs import MISSING

pytestmark = pytest.mark.both_databases


def test_a_study_runs_to_its_end_without_model_or_data(house: Running) -> None:
    trainer = Trainer(house, steps=3)
    assert trainer.created["state"] == "running"
    assert house.worker().claim() is None  # its trials are not for our own workers
    trainer.run()
    study, trials = house.study("tuning"), house.trials("tuning")
    assert (study["state"], study["counts"]["complete"]) == ("completed", 3)
    assert study["model"] is study["data"] is study["majority"] is study["error"] is None
    best = max(trials, key=lambda trial: trial["value"])
    told = {"trial": best["number"], "value": best["value"], "params": best["params"]}
    assert {name: value for name, value in study["best"].items() if value is not None} == told
    assert set(best["params"]) == set(external.SPACE)  # also what means something in other studies
    assert study["baseline"]["value"] == trials[0]["value"] == external.score({"lr": 1e-3}, 3)
    assert [value["step"] for value in best["values"]] == [1, 2, 3]
    assert best["effective_batch"] is None
    assert [trial.value for trial in house.optuna("tuning")] == [trial["value"] for trial in trials]
    assert house.get("/v1/studies/tuning/plots/history?format=json")["data"]
    assert "own" in problem(house.client.get("/v1/studies/tuning/model"), 404)["detail"]
    assert house.client.delete("/v1/studies/tuning").status_code == 204


def test_two_trials_run_at_the_same_time_and_a_third_waits(house: Running) -> None:
    trainer = Trainer(house)
    first, second = trainer.ask(worker="a"), trainer.ask(worker="b")
    assert {first["number"], second["number"]} == {0, 1}
    waits = trainer.post("ask")
    assert (waits.status_code, waits.headers["Retry-After"]) == (202, "5")
    assert "parallel: 2" in waits.json()["message"]
    trainer.tell(first, value=0.5)
    third = trainer.ask(wait_seconds=5)
    assert third["number"] == 2
    assert [trial["worker"] for trial in house.trials("tuning")] == ["a", "b", "external"]


def test_a_repeated_message_changes_nothing(house: Running) -> None:
    trainer = Trainer(house)
    trial = trainer.ask()
    assert [trainer.report(trial, 1, score) for score in (0.5, 0.9)] == ["continue", "continue"]
    ended = trainer.tell(trial)
    assert (ended["state"], ended["value"]) == ("complete", 0.5)
    assert trainer.tell(trial) == trainer.tell(trial, value=0.5, log="again") == ended == house.trials("tuning")[0]
    for other in (
        {"state": "failed", "message": "no"},
        {"state": "pruned"},
        {"value": 0.6},
        {"value": None},
        {"value": 0.5, "metrics": {"f1": 0.1}},
    ):
        refused = problem(trainer.post("tell", token=trial["token"], **other), 409)["detail"]
        assert "Trial 0 of tuning is complete with score 0.5 already" in refused
    assert house.trials("tuning")[0] == ended
    failed = trainer.ask()
    again = trainer.tell(failed, state="failed", reason="oom", message="one")
    assert trainer.tell(failed, state="failed", reason="oom", message="another") == again
    problem(trainer.post("tell", token=failed["token"], state="failed", reason="timeout"), 409)
    assert (
        "Drop the work"
        in problem(trainer.post("report", token=trial["token"], step=2, metrics={"score": 1}), 409)["detail"]
    )


def test_a_lost_trainers_trial_is_given_to_the_next_who_can_continue(house: Running) -> None:
    trainer = Trainer(house, budget={"trials": 1})
    lost = trainer.ask()
    trainer.report(lost, 1, 0.4)
    trainer.report(lost, 2, 0.3, checkpoint="s3://runs/0/step-2")
    house.move_clock(31)
    house.reap()
    again = trainer.ask()
    assert (again["number"], again["attempt"], again["params"]) == (0, 2, lost["params"])
    assert again["resume"] == {"step": 2, "best_step": 1, "best_value": 0.4, "checkpoint": "s3://runs/0/step-2"}
    for word in ("report", "tell"):
        assert "given to another" in problem(trainer.post(word, token=lost["token"]), 409)["detail"]
    assert trainer.report(again, 1, 0.9) == "continue"  # known already
    assert trainer.report(again, 3, 0.6) == "continue"
    assert trainer.tell(again)["value"] == 0.6


@pytest.mark.full
@pytest.mark.parametrize("is_lost_first", [True, False], ids=["before the stop", "after it"])
def test_a_study_that_is_stopped_waits_for_no_trainer_that_is_lost(house: Running, is_lost_first: bool) -> None:
    trainer = Trainer(house, budget={"trials": 5})
    scored = trainer.ask()
    assert trainer.report(scored, 1, 0.4) == "continue"
    trainer.ask()
    if is_lost_first:
        house.move_clock(31)
        house.reap()
    house.client.post("/v1/studies/tuning/stop").raise_for_status()
    if not is_lost_first:
        assert house.study("tuning")["state"] == "stopping", "running trials finish"
        house.move_clock(31)
        house.reap()
    study = house.study("tuning")
    assert (study["state"], study["best"]["trial"], study["best"]["value"]) == ("stopped", scored["number"], 0.4)
    assert [trial["state"] for trial in house.trials("tuning")] == ["complete", "cancelled"]
    assert "drop the work" in problem(trainer.post("report", token=scored["token"]), 409)["detail"]
    house.client.post("/v1/studies/tuning/extend", json={"budget": {"trials": 6}}).raise_for_status()
    trainer.tell(trainer.ask(), metrics={"score": 0.5})


def test_a_trial_that_loses_its_trainers_too_often_fails(house: Running) -> None:
    trainer = Trainer(house, budget={"trials": 1})
    for _ in range(house.settings.max_losses):
        assert trainer.report(trainer.ask(), 1, 0.4) == "continue"
        house.move_clock(31)
        house.reap()
    assert house.trials("tuning")[0]["reason"] == "lost_worker"
    study = house.study("tuning")
    assert study["state"] == "failed"
    assert "no report came within the lease" in study["error"]


def test_a_lease_is_as_long_as_its_trainer_asked_for(house: Running) -> None:
    trainer = Trainer(house)
    trial = trainer.ask(lease_seconds=600)
    assert trial["lease_seconds"] == 600
    for seconds in (599, 599):  # without a word, and after one
        house.move_clock(seconds)
        house.reap()
        answer = trainer.post("report", token=trial["token"]).json()
        assert answer == {"decision": "continue", "lease_seconds": 600}
    house.move_clock(601)
    house.reap()
    problem(trainer.post("report", token=trial["token"]), 409)


def test_what_users_do_to_a_study_is_told_to_its_trainers(house: Running) -> None:
    trainer = Trainer(house, budget={"trials": 9, "wall_clock_seconds": 100})
    act = f"/v1/studies/{trainer.name}"
    trial = trainer.ask(lease_seconds=600)
    house.client.post(f"{act}/pause").raise_for_status()
    assert "paused" in trainer.post("ask").json()["message"]
    assert trainer.report(trial, 1, 0.5) == "continue"
    house.client.post(f"{act}/resume").raise_for_status()
    other = trainer.ask(lease_seconds=600)
    assert trainer.report(other, 1, 0.6) == "continue"
    house.move_clock(101)  # of the wall clock
    house.reap()
    assert trainer.report(other, 2, 0.7) == "stop"
    assert trainer.post("report", token=trial["token"]).json()["decision"] == "stop"
    assert "ending" in trainer.post("ask").json()["message"]
    assert trainer.tell(other)["reason"] == "budget"
    trainer.tell(trial, state="released")
    assert (house.study("tuning")["state"], house.study("tuning")["best"]["value"]) == ("running", 0.7)
    trainer.tell(trainer.ask())  # who can continue it has its scores
    assert house.study("tuning")["state"] == "completed"
    cancelled = Trainer(house, "other")
    trial = cancelled.ask()
    house.client.post("/v1/studies/other/cancel").raise_for_status()
    assert "other is cancelled" in problem(cancelled.post("report", token=trial["token"]), 409)["detail"]
    stopped = Trainer(house, "third")
    trial = stopped.ask()
    house.client.post("/v1/studies/third/stop").raise_for_status()
    assert stopped.report(trial, 1, 0.5) == "continue"  # running trials finish
    stopped.tell(trial)
    assert (house.study("third")["state"], house.study("third")["best"]["trial"]) == ("stopped", 0)


def test_a_trial_that_cannot_win_is_pruned(house: Running) -> None:
    trainer = Trainer(house, pruner={"name": "median", "startup_trials": 1}, steps=9, budget={"trials": 4})
    for _ in range(3):
        good = trainer.ask()
        for step in (3, 6, 9):
            assert trainer.report(good, step, 0.9) == "continue"
        trainer.tell(good)
    bad = trainer.ask()
    assert trainer.report(bad, 3, 0.1) == "prune"
    assert trainer.report(bad, 3, 0.1) == "prune"
    ended = trainer.tell(bad, state="pruned")
    assert (ended["state"], ended["reason"]) == ("pruned", None)


def test_scores_that_are_no_numbers_end_a_trial_as_diverged(house: Running) -> None:
    trainer = Trainer(house, budget={"trials": 4})
    trial = trainer.ask()
    assert trainer.report(trial, 1, None) == "prune"
    assert trainer.tell(trial, state="pruned")["reason"] == "diverged"
    assert trainer.tell(trainer.ask(), value=None)["reason"] == "diverged"
    assert trainer.tell(trainer.ask(), state="failed", reason="diverged")["state"] == "pruned"
    last = trainer.tell(trainer.ask(), state="failed", reason="oom", message="out of memory at batch 512")
    assert (last["state"], last["error"]) == ("failed", "out of memory at batch 512")
    study = house.study("tuning")
    assert study["state"] == "failed"
    assert "3 had a score that is no finite number" in study["error"]


def test_a_told_score_is_the_trials_score(house: Running) -> None:
    trainer = Trainer(house, steps=9)
    reported = trainer.ask()
    trainer.report(reported, 4, 0.9)
    ended = trainer.tell(reported, value=0.7, metrics={"f1": 0.3})
    assert ended["value"] == 0.7
    assert ended["values"] == [{"step": 4, "metrics": {"score": 0.9, "loss": 1.0, "f1": 0.3}}]
    silent = trainer.tell(trainer.ask(), metrics={"score": 0.8, "f1": 0.4})
    assert silent["values"] == [{"step": 9, "metrics": {"score": 0.8, "f1": 0.4}}]
    assert [trial.value for trial in house.optuna("tuning")] == [0.7, 0.8]
    assert house.study("tuning")["best"]["trial"] == 1


def test_limits_of_the_budget_end_it(house: Running) -> None:
    trainer = Trainer(house, budget={"trials": 9, "target": 0.8})
    trainer.tell(trainer.ask(), value=0.8)
    assert "target" in house.study("tuning")["message"]
    slow = Trainer(house, "slow", budget={"gpu_seconds": 50})
    trial = slow.ask(lease_seconds=100)
    house.move_clock(60)
    slow.tell(trial, value=0.5)
    assert house.study("slow")["state"] == "completed"
    assert house.trials("slow")[0]["seconds"] >= 60
    unlucky = Trainer(house, "unlucky", budget={"trials": 9, "failures": 1})
    unlucky.tell(unlucky.ask(), value=0.5)
    unlucky.tell(unlucky.ask(), state="failed")
    assert house.study("unlucky")["state"] == "failed"
    assert problem(house.client.post("/v1/studies/unlucky/resume"), 409)  # nothing is left to measure


def test_a_configuration_of_ones_own_runs_next(house: Running) -> None:
    trainer = Trainer(house)
    mine = {name: value for name, value in external.SPACE.items() if isinstance(value, int)}
    mine |= {"lr": 0.02, "depth": 9, "activation": "gelu", "nesterov": False}
    answer = house.client.post("/v1/studies/tuning/trials", json={"params": mine, "seed": 7})
    assert answer.status_code == 201, answer.text
    trainer.tell(trainer.ask(), value=0.1)  # the middle of the space comes first
    asked = trainer.ask()
    assert asked["params"].items() >= mine.items()
    assert asked["seed"] == 7
    wrong = house.client.post("/v1/studies/tuning/trials", json={"params": {"depth": 2, "deep": 1}})
    assert {fault["path"] for fault in problem(wrong, 422)["errors"]} == {"params.depth", "params.deep"}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service with a study whose first trial runs at step 3, for messages that are refused."""
    with running(tmp_path_factory.mktemp("home"), None) as house:
        trainer = Trainer(house, budget={"trials": 50}, parallel=1)
        trial = trainer.ask()
        trainer.report(trial, 3, 0.5)
        yield trainer, trial


@pytest.mark.parametrize(
    ("word", "message", "path", "cure"),
    [
        ("report", {"step": 4, "metrics": {"scor": 0.1}}, "metrics.score", "not scor"),
        ("report", {"step": 4}, "metrics.score", "report it at every step"),
        ("report", {"step": 2, "metrics": {"score": 0.1}}, "step", "above 3"),
        ("report", {"step": 0, "metrics": {"score": 0.1}}, "step", "at least 1"),
        ("report", {"metrics": {"score": 0.1}}, "step", "is missing"),
        ("report", {"step": 4, "metrics": {"score": "0.1"}}, "metrics.score", "a number"),
        ("report", {"step": 4, "metrics": {"my score": 0.1}}, "metrics.my score", "without spaces"),
        ("report", {"step": 4, "metrics": {f"m{i}": 0.1 for i in range(101)}}, "metrics", "at most 100"),
        ("report", {"token": MISSING}, "token", "is missing"),
        ("report", {"epoch": 4}, "epoch", "unknown key"),
        ("tell", {"state": "done"}, "state", "'complete', 'pruned', 'failed' or 'released'"),
        ("tell", {"reason": "oom"}, "reason", "state: failed"),
        ("tell", {"state": "failed", "value": 0.3}, "value", "state: complete"),
        ("tell", {"state": "failed", "reason": "lost_worker"}, "reason", "'oom'"),
        ("tell", {"value": 0.3, "metrics": {"score": 0.4}}, "value", "one of the two"),
        ("ask", {"lease_seconds": 0}, "lease_seconds", "at least 1"),
        ("ask", {"wait_seconds": 61}, "wait_seconds", "at most 60"),
        ("ask", {"worker": "a b"}, "worker", "such as gpu-box-1"),
    ],
)
def test_a_wrong_message_is_refused_with_path_and_cure(
    refusing: tuple[Trainer, dict[str, Any]], word: str, message: dict[str, Any], path: str, cure: str
) -> None:
    trainer, trial = refusing
    token = {} if word == "ask" else {"token": trial["token"]}
    sent = {key: value for key, value in (token | message).items() if value is not MISSING}
    faults = {fault["path"]: fault["message"] for fault in problem(trainer.post(word, **sent), 422)["errors"]}
    assert cure in faults[path]
    assert trainer.client.get("/v1/studies/tuning/trials/0").json()["values"][-1]["step"] == 3


def test_no_number_of_json_is_not_a_number(refusing: tuple[Trainer, dict[str, Any]]) -> None:
    trainer, trial = refusing
    text = f'{{"token": "{trial["token"]}", "step": 5, "metrics": {{"score": NaN}}}}'
    answer = trainer.client.post(
        "/v1/studies/tuning/report", content=text, headers={"Content-Type": "application/json"}
    )
    assert "metrics.score must be a finite number" in problem(answer, 422)["detail"]


def test_a_token_is_for_one_study_and_ask_for_external_ones(house: Running) -> None:
    one, other = Trainer(house), Trainer(house, "other")
    token = one.ask()["token"]
    assert "of another study" in problem(other.post("report", token=token), 409)["detail"]
    silent = one.ask()
    assert "no report gave score" in problem(one.post("tell", token=silent["token"]), 422)["detail"]
    house.create("s1")
    for word, message in (("ask", {}), ("report", {"token": "x"}), ("tell", {"token": "x"})):
        answer = house.client.post(f"/v1/studies/s1/{word}", json=message)
        assert "task: external" in problem(answer, 409)["detail"]
        assert (
            "Did you mean tuning"
            in problem(house.client.post(f"/v1/studies/tunin/{word}", json=message), 404)["detail"]
        )


def test_a_plan_says_what_the_space_is_and_needs_no_worker(house: Running) -> None:
    plan = house.client.post(
        "/v1/studies:plan", json=external.document(pruner={"name": "median"}, budget={"trials": 20})
    )
    assert plan.status_code == 200, plan.text
    assert plan.json()["space"]["depth"] == {"low": 1, "high": 9, "log": False, "step": 2}
    assert plan.json()["models"] == []
    assert plan.json()["pruner"]["prunable_trials"] == 15
