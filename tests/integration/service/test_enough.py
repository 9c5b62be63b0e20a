"""A study ends once trials in a row were no better, or what is left of its budget would gain little."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.harness import Running, ScriptedWorker, held, paths, problem, running, spec
from tests.support.killed_request import exit_code

pytestmark = pytest.mark.both_databases
# Of ten trials the best third is 0.80, 0.75, 0.72 and 0.70, above 0.68: excesses of 0.12, 0.07, 0.04 and 0.02.
TEN = (0.80, 0.75, 0.72, 0.70, 0.68, 0.5, 0.4, 0.3, 0.2, 0.1)
EXCESS = (0.12 + 0.07 + 0.04 + 0.02) / 4
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


@pytest.mark.full
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


ENDS: dict[str, tuple[dict[str, Any], tuple[float, ...], str]] = {
    "patience": (STUDY, (0.5, 0.4, 0.3, 0.2), "3 trials in a row had no better score than trial 0"),
    "expected_gain": (
        {"budget": {"trials": 13, "expected_gain": 0.03}, "parallel": 1},
        TEN,
        "The rest of the budget is expected to gain 0.0115, less than 0.03.",
    ),
}


@pytest.mark.full
@pytest.mark.parametrize("limit", ENDS)
def test_a_service_that_is_killed_while_a_study_has_had_enough(database_url: str, tmp_path: Path, limit: str) -> None:
    """The last trial's end is recorded with the study's, or neither is; a second service goes on to the same end."""
    home, (study, scores, told) = tmp_path / "home", ENDS[limit]
    last = len(scores) - 1
    with running(home, database_url) as house:
        worker = house.worker()
        house.started(worker, **study)
        for score in scores[:-1]:
            play(worker, score)
        a = worker.take()
        worker.report(a, 1, scores[-1])
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
        assert one.trials()[last]["state"] == "running"
        two.worker("w1").finish(a)
        one.worker("w1").drain()
        for house in (one, two):
            seen = house.study()
            assert (seen["state"], seen["counts"]["complete"], seen["best"]["trial"]) == ("completed", last + 1, 0)
            assert seen["message"].startswith(told)
        assert len(one.optuna()) == last + 1


GAINFUL: dict[str, Any] = {"budget": {"trials": 30, "expected_gain": 0.03}, "parallel": 1}


def gain_of(left: int, tried: int = 10) -> float:
    """Return the gain that is expected of so many more trials, from its closed form."""
    return 3 * EXCESS / 2 * (1 - (tried / (tried + left)) ** 0.5)


def test_the_expected_gain_is_shown_and_ends_a_study(house: Running, worker: ScriptedWorker) -> None:
    """Each trial that comes to little makes the rest of the budget worth less, until that is too little."""
    house.started(worker, **GAINFUL)
    for i, score in enumerate(TEN):
        assert house.study()["expected_gain"] is None, "not before the tenth trial has ended"
        play(worker, score if i else 0.80)
    study = house.study()
    assert study["expected_gain"] == pytest.approx(gain_of(20))
    assert house.get("/v1/studies")["items"][0]["expected_gain"] == study["expected_gain"]
    page = house.client.get("/studies/s1").text
    assert f"expected gain of going on: {study['expected_gain']:.2g}" in page
    with house.client.stream("GET", "/v1/studies/s1/events?kind=study") as stream:
        told = next(line for line in stream.iter_lines() if line.startswith("data:"))
    assert json.loads(told.removeprefix("data:"))["expected_gain"] == study["expected_gain"]
    for _ in range(3):
        play(worker, "failed")  # says nothing, but there are fewer to come, and fewer of those will have scores
    fewer = house.study()["expected_gain"]
    assert fewer == pytest.approx(3 * EXCESS / 2 * (1 - (10 / (10 + 17 * 10 / 13)) ** 0.5))
    assert fewer > 0.03
    play(worker, 0.1)
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    study = house.study()
    assert (study["state"], study["best"]["trial"], study["expected_gain"]) == ("completed", 0, None)
    assert study["message"] == "The rest of the budget is expected to gain 0.0297, less than 0.03."


@pytest.mark.full
def test_a_study_that_would_gain_little_is_extended(house: Running, worker: ScriptedWorker) -> None:
    """By a smaller gain, a budget that lets it expect more, or without such a limit."""
    house.started(worker, budget={"trials": 13, "expected_gain": 0.03}, parallel=1)
    for score in TEN:
        play(worker, score)
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))

    def extend(**budget: Any) -> Any:
        return house.client.post("/v1/studies/s1/extend", json={"budget": budget})

    assert house.study()["message"].startswith("The rest of the budget is expected to gain 0.0115, less")
    assert "budget.expected_gain: must be less than 0.0145, which is all" in problem(extend(trials=14), 422)["detail"]
    assert paths(extend(expected_gain=0.04)) == {"budget.expected_gain"}
    assert paths(extend(expected_gain=0.012)) == {"budget.expected_gain"}
    assert extend(expected_gain=0.011).json()["expected_gain"] == pytest.approx(gain_of(3))
    house.client.post("/v1/studies/s1/stop").raise_for_status()
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    assert extend(trials=40).json()["state"] == "running"
    house.client.post("/v1/studies/s1/stop").raise_for_status()
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    assert extend(expected_gain=None).json()["state"] == "running"


@pytest.mark.full
def test_time_that_is_left_is_counted_in_trials_and_a_loss_gains_downwards(
    house: Running, worker: ScriptedWorker
) -> None:
    house.started(worker, budget={"gpu_seconds": 300}, objective={"metric": "loss"}, parallel=1)
    for score in TEN:
        a = worker.take()
        report_loss(worker, a, 1 - score)
        worker.finish(a, seconds=10.0)
    study = house.study()
    assert study["expected_gain"] == pytest.approx(gain_of(20))
    house.client.post("/v1/studies/s1/extend", json={"budget": {"wall_clock_seconds": 150}}).raise_for_status()
    assert house.study()["expected_gain"] == pytest.approx(gain_of(5)), "100 of 150 seconds are used, by the trials"


@pytest.mark.full
def test_scores_that_are_all_the_same_end_nothing(house: Running, worker: ScriptedWorker) -> None:
    """They may be those of the most frequent answer, which no trial has left yet."""
    house.started(worker, budget={"trials": 12, "expected_gain": 0.5}, parallel=1)
    for _ in range(12):
        assert house.study()["expected_gain"] is None
        play(worker, 0.7)
    assert house.study()["message"] == "All 12 trials of the budget are done."


SMALL = {"batch_size": [8, 16], "learning_rate": [1e-5, 1e-4]}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"budget": {"trials": 20, "expected_gain": 0}}, "budget.expected_gain", "must be above 0"),
    ({"budget": {"trials": 20, "expected_gain": "low"}}, "budget.expected_gain", "must be a number"),
    ({"budget": {"expected_gain": 0.1}}, "budget", "must set trials, wall_clock_seconds or gpu_seconds"),
    (
        {"budget": {"trials": 10, "expected_gain": 0.1}},
        "budget.expected_gain",
        "can end no study of 10 trials: an estimate needs 10 that have ended, and one to come; raise budget.trials",
    ),
    (
        {
            "budget": {"trials": 20, "expected_gain": 0.1},
            "space": {"batch_size": [8, 16], "learning_rate": [1e-5, 1e-4]},
        },
        "budget.expected_gain",
        "can end no study of 4 trials: an estimate needs 10 that have ended, and one to come; widen the space",
    ),
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
        {"budget": {"trials": 20, "patience": 4}, "space": SMALL},
        "budget.patience",
        "can have 4; set it to at most 3, widen the space, or leave patience out",
    ),
]


@pytest.mark.parametrize(("changes", "path", "text"), REFUSED)
def test_a_limit_that_can_never_be_reached_is_refused(
    house_sqlite: Running, changes: dict[str, Any], path: str, text: str
) -> None:
    refused = problem(house_sqlite.client.post("/v1/studies", json=spec("refused", **changes)), 422)
    assert {error["path"] for error in refused["errors"]} == {path}
    assert text in refused["detail"]
    study = {key: value for key, value in spec(**changes).items() if key != "name"}
    nightly = {"name": "nightly", "cron": "* * * * *", "study": study}
    raised = problem(house_sqlite.client.post("/v1/schedules", json=nightly), 422)
    assert f"study.{path}" in {error["path"] for error in raised["errors"]}
