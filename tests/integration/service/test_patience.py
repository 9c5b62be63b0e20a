"""A study ends once so many trials in a row were no better: the count, its end, an extension, crashes, two services."""

import signal
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.harness import Running, ScriptedWorker, held, paths, problem, running, spec
from tests.support.killed_request import exit_code

pytestmark = pytest.mark.both_databases
STUDY: dict[str, Any] = {"budget": {"trials": 20, "patience": 3}, "parallel": 1}


def play(worker: ScriptedWorker, score: float | str) -> None:
    """Train one trial to a score, or end it in this way: failed, diverged, pruned."""
    a = worker.take(AssignmentKind.TRAIN)
    if score == "failed":
        worker.finish(a, "failed", reason="error", problem={"message": "The disk is full."})
    elif score == "diverged":
        worker.finish(a, "pruned", reason="diverged")
    else:
        worker.report(a, 1, float(score), best=worker.write(a, "best-1", b"weights"))
        worker.finish(a)


def report_loss(worker: ScriptedWorker, a: Assignment, loss: float) -> None:
    best = worker.write(a, "best-1", b"weights")
    worker.post("report", **held(a), step=1, metrics={"loss": loss}, best=best)


def test_trials_in_a_row_without_a_better_score_end_a_study(house: Running, worker: ScriptedWorker) -> None:
    """An equal score is no better, and one that diverged counts; one that failed does not, and starts no new count."""
    house.started(worker, **STUDY)
    for score in ("failed", 0.5, 0.4, 0.4, 0.7, 0.7, "diverged", "failed", 0.6):
        assert house.study()["state"] == "running"
        play(worker, score)
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    study = house.study()
    assert study["state"] == "completed"
    assert study["message"] == "3 trials in a row had no better score than trial 4: the patience is over."
    assert study["best"]["trial"] == 4
    assert study["counts"]["cancelled"] == 0


def test_a_loss_is_better_below_and_running_trials_finish(house: Running, worker: ScriptedWorker) -> None:
    """They are counted in the order in which they ended; one that was running may still win."""
    objective = {"metric": "loss"}
    house.started(worker, budget={"trials": 20, "patience": 2}, parallel=4, objective=objective)
    first, *others = [worker.take() for _ in range(4)]
    for a, loss in ((others[0], 0.5), (others[2], 0.3), (first, 0.4), (others[1], 0.3)):
        house.move_clock(1)
        report_loss(worker, a, loss)
        if a is not others[1]:
            worker.finish(a)
    late = worker.take()
    worker.finish(others[1])
    assert worker.claim() is None, "no new trial"
    report_loss(worker, late, 0.1)
    worker.finish(late)
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    study = house.study()
    assert (study["state"], study["best"]["trial"], study["counts"]["complete"]) == ("completed", late.number, 5)
    assert study["message"].startswith("2 trials in a row had no better score than trial 3")


def test_a_study_whose_patience_is_over_is_extended(house: Running, worker: ScriptedWorker) -> None:
    """By more patience than there is a row already, or none; more trials alone would end at once, and are refused."""
    house.started(worker, budget={"trials": 7, "patience": 3}, parallel=1)
    for score in (0.5, 0.4, 0.4, 0.4):
        play(worker, score)
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))

    def extend(**budget: Any) -> Any:
        return house.client.post("/v1/studies/s1/extend", json={"budget": budget})

    refused = problem(extend(trials=40), 422)
    assert (
        "budget.patience: must be more than 3, as so many trials in a row were no better than trial 0; or null"
        in (refused["detail"])
    )
    assert paths(extend(patience=2)) == {"budget.patience"}
    assert paths(extend(patience=7)) == {"budget.patience"}
    assert extend(patience=5).json()["state"] == "running"
    play(worker, 0.4)
    play(worker, 0.4)
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    study = house.study()
    assert (study["state"], study["counts"]["complete"], study["best"]["test_looks"]) == ("completed", 6, 2)
    assert "5 trials in a row" in study["message"]
    assert extend(patience=None).status_code == 200
    play(worker, 0.9)
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    assert house.study()["message"] == "All 7 trials of the budget are done."
    assert "patience" not in house.study()["spec"]["budget"]


@pytest.mark.full
def test_a_service_that_is_killed_while_patience_ends_a_study(database_url: str, tmp_path: Path) -> None:
    """The last trial's end is recorded with the study's, or neither is; a second service goes on to the same end."""
    home = tmp_path / "home"
    with running(home, database_url) as house:
        worker = house.worker()
        house.started(worker, **STUDY)
        for score in (0.5, 0.4, 0.3):
            play(worker, score)
        a = worker.take()
        worker.report(a, 1, 0.2)
    message = {**held(a), "status": "complete"}
    given: tuple[Any, ...] = (
        "luthier.service.lifecycle.transitions.end_search",
        0,
        "POST",
        "/v1/worker/finish",
        message,
    )
    assert exit_code(home, database_url, *given) == -signal.SIGKILL
    with running(home, database_url) as one, running(home, database_url) as two:
        assert one.trials()[3]["state"] == "running"
        two.worker("w1").finish(a)
        one.worker("w1").drain()
        for house in (one, two):
            study = house.study()
            assert (study["state"], study["counts"]["complete"], study["best"]["trial"]) == ("completed", 4, 0)
            assert study["message"].startswith("3 trials in a row had no better score than trial 0")
        assert len(one.optuna()) == 4


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"budget": {"trials": 20, "patience": 0}}, "budget.patience", "must be at least 1"),
    ({"budget": {"trials": 20, "patience": True}}, "budget.patience", "must be a whole number"),
    ({"budget": {"patience": 5}}, "budget", "must set trials, wall_clock_seconds or gpu_seconds"),
    (
        {"budget": {"trials": 20, "patience": 20}},
        "budget.patience",
        "can have 20; set it to at most 19, raise budget.trials, or leave patience out",
    ),
    ({"budget": {"trials": 1, "patience": 1}}, "budget.patience", "can have 1; raise budget.trials, or leave"),
    (
        {"budget": {"trials": 20, "patience": 4}, "space": {"batch_size": [8, 16], "learning_rate": [1e-5, 1e-4]}},
        "budget.patience",
        "can have 4; set it to at most 3, widen the space, or leave patience out",
    ),
]


@pytest.mark.parametrize(("changes", "path", "text"), REFUSED)
def test_a_patience_that_can_never_be_over_is_refused(
    house_sqlite: Running, changes: dict[str, Any], path: str, text: str
) -> None:
    refused = problem(house_sqlite.client.post("/v1/studies", json=spec("refused", **changes)), 422)
    assert {error["path"] for error in refused["errors"]} == {path}
    assert text in refused["detail"]
    study = {key: value for key, value in spec(**changes).items() if key != "name"}
    nightly = {"name": "nightly", "cron": "* * * * *", "study": study}
    raised = problem(house_sqlite.client.post("/v1/schedules", json=nightly), 422)
    assert f"study.{path}" in {error["path"] for error in raised["errors"]}
