"""Bounds on what workers say: numbers that no sum survives, texts and lists that fill the database."""

import math
from typing import Any

import pytest

from luthier.studies.protocol import AssignmentKind
from tests.support.harness import Running, ScriptedWorker, held, problem
from tests.support.tiers import a_few


def answers(house: Running) -> None:
    """Check that every list answers, and every number in it is finite."""
    for path in ("/v1/studies", "/v1/studies/s1", "/v1/studies/s1/trials", "/v1/workers", "/metrics"):
        response = house.client.get(path)
        assert response.status_code == 200, f"{path}: {response.text}"


@pytest.mark.parametrize("seconds", a_few(1, [1.7e308, 1e300, 1e9]))
def test_nobody_was_busy_for_longer_than_the_lease(house: Running, worker: ScriptedWorker, seconds: float) -> None:
    house.started(worker, budget={"trials": 9, "gpu_seconds": 1000}, parallel=3)
    reported, ended, released = worker.take(), worker.take(), worker.take()
    worker.report(reported, 1, 0.5, seconds=seconds)
    worker.finish(ended, "failed", reason="error", seconds=seconds)
    worker.finish(released, "released", seconds=seconds)
    again = worker.take()
    assert again.attempt == 2
    worker.finish(again, "pruned", seconds=seconds)
    answers(house)
    study = house.study()
    assert study["state"] == "running", "the budget of GPU seconds is not used up"
    assert 0 < study["gpu_seconds"] < 4 * 60
    for action in ("pause", "resume", "stop", "cancel"):
        assert house.client.post(f"/v1/studies/s1/{action}").status_code == 200, action


def test_an_honest_time_is_kept_and_a_clock_that_was_set_back_takes_none_away(
    house: Running, worker: ScriptedWorker
) -> None:
    house.started(worker)
    a = worker.take()
    house.move_clock(25)
    worker.renew(a)
    house.move_clock(25)
    worker.report(a, 1, 0.5, seconds=49.5)
    assert house.trials()[0]["seconds"] == 49.5
    house.move_clock(-7200)
    worker.report(a, 2, 0.5, seconds=60.0)
    assert house.trials()[0]["seconds"] == 49.5, "not less than it was, and never negative"
    house.move_clock(7200)
    worker.finish(a, seconds=61.5)
    assert house.trials()[0]["seconds"] == 61.5


@pytest.mark.parametrize("value", a_few(1, [1e308, -1.7e308, 1e101]))
def test_a_score_that_no_mean_survives_is_none(house: Running, worker: ScriptedWorker, value: float) -> None:
    house.started(worker, budget={"trials": 4}, parallel=1, confirm={"candidates": 2, "seeds": 2})
    first = worker.take()
    for step in (1, 2):
        worker.report(first, step, value)
    worker.finish(first)
    trial = house.trials()[0]
    assert [step["metrics"]["accuracy"] for step in trial["values"]] == [None, None]
    assert (trial["state"], trial["value"]) == ("failed", None)
    assert "without a finite score" in trial["error"]
    while (a := worker.claim()) is not None:
        if a.kind is AssignmentKind.CONFIRM and a.number == 0:
            worker.report(a, 1, value)
            worker.finish(a)
        else:
            worker.work(a)
    study = house.study()
    assert study["state"] == "completed", study
    assert study["best"]["value"] < 1
    assert all(math.isfinite(confirmed["mean"]) for confirmed in study["confirmed"])
    answers(house)


@pytest.mark.full
def test_the_largest_scores_train_to_the_end(house: Running, worker: ScriptedWorker) -> None:
    worker.score = lambda params, step: -1e100 + 1e99 * step
    study = house.finished(budget={"trials": 14}, parallel=1, pruner={"name": "percentile", "startup_trials": 2})
    assert study["counts"]["failed"] == 0, study
    worker.score = lambda params, step: 1e100 if step % 2 else -1e100
    worker.drain()
    house.create("s2", budget={"trials": 14}, parallel=1, confirm={"candidates": 2, "seeds": 3})
    worker.drain()
    assert house.study("s2")["state"] == "completed"
    for kind in ("history", "slice", "parallel", "contour", "importance", "intermediate"):
        assert house.client.get(f"/v1/studies/s2/plots/{kind}?format=json").status_code in (200, 409), kind


def test_too_many_scores_are_refused_with_a_sentence(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    a = worker.take()
    metrics = {f"m{i}": 0.5 for i in range(100)}
    for number in (20_000, 101):
        message = held(a) | {"step": 1, "metrics": {f"m{i}": 0.5 for i in range(number)}}
        refused = problem(worker.client.post("/v1/worker/report", json=message), 422)
        assert refused["errors"][0]["path"] == "metrics"
        assert "100" in refused["detail"]
        assert len(refused["detail"]) < 1000
    assert house.trials()[0]["values"] == []
    worker.post("report", **held(a), step=1, metrics=metrics)
    assert len(house.trials()[0]["values"][0]["metrics"]) == 100


def test_a_page_of_error_text_is_cut(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 9, "failures": 2})
    a, b = worker.take(), worker.take()
    worker.finish(a, "failed", reason="error", problem={"message": "x" * 1_000_000, "path": ["y" * 1_000] * 1_000})
    error = house.trials()[0]["error"]
    assert error.startswith("xxx")
    assert error.endswith(" … (cut)")
    assert len(error) == 4_000
    for _ in range(3):
        worker.finish(b, "lost", problem={"message": "é" * 1_000_000})
        b = worker.claim() or b
    assert len(house.trials()[1]["error"]) < 5_000
    answers(house)


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "f" * 65},
        {"rows": {"train": 10**400}},
        {"rows": {f"split{i}": 1 for i in range(101)}},
        {"trainable_parameters": [2**70]},
        {"label_names": ["x" * 10_001]},
        {"blocks": [{"name": "x" * 1_001, "parameters": 1}]},
        {"blocks": [{"name": "x", "parameters": 1}] * 10_001},
        {"estimates": {"seconds_per_trial": -1.0}},
    ],
)
def test_an_inspection_beyond_all_bounds_is_refused_and_the_study_goes_on(
    house_sqlite: Running, changes: dict[str, Any]
) -> None:
    house, worker = house_sqlite, house_sqlite.worker()
    house.create("odd")
    a = worker.take(AssignmentKind.INSPECT)
    inspection = worker.inspection.model_dump(mode="json") | changes
    message = held(a) | {"status": "complete", "inspection": inspection}
    refused = problem(worker.client.post("/v1/worker/finish", json=message), 422)
    assert refused["errors"][0]["path"].startswith("inspection.")
    worker.finish(a, "failed", reason="error", problem={"message": refused["detail"]})
    assert "inspection." in house.study("odd")["error"]
    assert house.client.delete("/v1/studies/odd").status_code == 204
