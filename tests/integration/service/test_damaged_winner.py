"""Weights that are damaged when they are needed: trained again from their seed, or the next best; the study says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from tests.support.harness import Running, ScriptedWorker, problem
from tests.support.nightly import Nightly
from tests.support.tiers import a_few

MESSAGE = "The file best is missing or damaged: it does not match its checksum."


def until(worker: ScriptedWorker, kind: AssignmentKind) -> Assignment:
    """Work until an assignment of this kind comes."""
    while (a := worker.claim()) is not None:
        if a.kind is kind:
            return a
        worker.work(a)
    raise AssertionError(f"no {kind} came")


def flip(a: Assignment) -> None:
    """Change the weights that an evaluation is to read."""
    assert a.checkpoint.best is not None
    path = Path(a.store) / a.checkpoint.best.name
    path.write_bytes(b"W" + path.read_bytes()[1:])


def lose(a: Assignment) -> None:
    assert a.checkpoint.best is not None
    (Path(a.store) / a.checkpoint.best.name).unlink()


def say_damaged(worker: ScriptedWorker, a: Assignment) -> None:
    worker.finish(a, "failed", reason="damaged", problem={"message": MESSAGE})


def exact(house: Running, trials: int) -> dict[str, Any]:
    """Return the study, which has used its budget exactly."""
    study = house.study()
    assert len(house.trials()) == study["counts"]["complete"] == trials
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE"] * trials
    return study


@pytest.mark.parametrize("harm", a_few(1, [flip, lose]))
def test_a_damaged_winner_is_trained_again_from_its_seed(
    house: Running, worker: ScriptedWorker, harm: Callable[[Assignment], None]
) -> None:
    house.create(budget={"trials": 3})
    a = until(worker, AssignmentKind.EVALUATE)
    before = house.study()["best"]
    harm(a)
    say_damaged(worker, a)
    house.reap()
    study = house.study()
    assert (study["state"], study["error"]) == ("running", None)
    assert "is trained again" in study["warnings"][0]
    again = worker.take(AssignmentKind.CONFIRM)
    assert (again.seed, again.params) == (a.seed, a.params)
    worker.work(again)
    house.reap()
    last = worker.take(AssignmentKind.EVALUATE)
    assert (last.seed, last.params) == (a.seed, a.params)
    worker.evaluate(last)
    study = exact(house, 3)
    assert study["state"] == "completed"
    assert study["best"] == before | {"test": study["best"]["test"], "test_looks": 1}
    assert study["best"]["test"] is not None
    assert study["warnings"] == [
        f"The weights of trial {before['trial']} were damaged or missing in the service's store. "
        "It was trained again from its seed."
    ]
    assert house.client.get("/v1/studies/s1/model").status_code == 200
    assert worker.claim() is None


def test_weights_that_only_the_worker_cannot_read_are_left_as_they_are(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 2})
    say_damaged(worker, until(worker, AssignmentKind.EVALUATE))
    other = house.worker("other")
    other.evaluate(other.take(AssignmentKind.EVALUATE))
    study = exact(house, 2)
    assert (study["state"], study["warnings"]) == ("completed", [])


def test_the_next_best_wins_where_training_again_fails(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 3}, parallel=1)
    a = until(worker, AssignmentKind.EVALUATE)
    lose(a)
    say_damaged(worker, a)
    worker.finish(worker.take(AssignmentKind.CONFIRM), "failed", reason="oom", problem={"message": "No memory."})
    ranked = sorted(house.trials(), key=lambda trial: (-trial["value"], trial["number"]))
    again = worker.take(AssignmentKind.CONFIRM)
    assert again.seed == ranked[1]["seed"]
    worker.work(again)
    worker.drain()
    study = exact(house, 3)
    assert (study["state"], study["best"]["trial"]) == ("completed", ranked[1]["number"])
    first, second = ranked[0]["number"], ranked[1]["number"]
    assert study["warnings"] == [
        f"The weights of trial {first} were damaged or missing in the service's store. Training trial {first} again "
        f"left none; trial {second} is the next best. It was trained again from its seed."
    ]


def test_a_study_without_any_weights_fails_truly_and_can_be_resumed(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 2}, parallel=1)
    a = until(worker, AssignmentKind.EVALUATE)
    lose(a)
    say_damaged(worker, a)
    for _ in range(2):
        worker.finish(worker.take(AssignmentKind.CONFIRM), "failed", reason="oom", problem={"message": "No memory."})
    study = exact(house, 2)
    assert study["state"] == "failed"
    assert "were damaged or missing" in study["error"]
    assert "No memory. `resume` trains it again." in study["error"]
    assert "are kept" not in study["error"]
    assert house.client.post("/v1/studies/s1/resume").json()["state"] == "running"
    house.reap()
    worker.drain()
    study = exact(house, 2)
    assert (study["state"], study["error"]) == ("completed", None)
    assert "trained again from its seed" in study["warnings"][0]


def test_a_damaged_repetition_is_trained_again(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 3}, confirm={"candidates": 2, "seeds": 2})
    a = until(worker, AssignmentKind.EVALUATE)
    confirmed = house.study()["confirmed"]
    lose(a)
    say_damaged(worker, a)
    again = worker.take(AssignmentKind.CONFIRM)
    assert again.seed == a.seed
    worker.work(again)
    worker.drain()
    study = exact(house, 3)
    assert (study["state"], study["confirmed"]) == ("completed", confirmed)
    assert study["model"] is not None


def test_a_trial_that_time_ended_is_trained_again_as_far(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"wall_clock_seconds": 40}, parallel=1, space={"learning_rate": 1e-4, "epochs": 3})
    a = worker.take()
    worker.train(a, steps=1)
    for _ in range(2):
        house.move_clock(21)
        worker.renew(a)
    house.reap()
    assert worker.report(a, 2, 0.9, best=worker.write(a, "best-2", b"weights 0 2")) is Decision.STOP
    worker.finish(a, reason="budget")
    last = worker.take(AssignmentKind.EVALUATE)
    lose(last)
    say_damaged(worker, last)
    again = worker.take(AssignmentKind.CONFIRM)
    assert worker.report(again, 1, 0.5) is Decision.CONTINUE
    assert worker.report(again, 2, 0.9, best=worker.write(again, "best-2", b"weights 0 2")) is Decision.STOP
    worker.finish(again, reason="budget")
    worker.drain()
    assert house.study()["state"] == "completed"


@pytest.mark.full
def test_an_attempt_that_starts_over_has_its_own_files_named(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 1}, space={"learning_rate": 1e-4, "epochs": 3})
    a = worker.take()
    worker.train(a, steps=2)
    worker.finish(a, "lost")
    b = worker.take()
    assert (b.checkpoint.step, b.checkpoint.best) != (0, None)
    for step in (1, 2):  # the same scores again, as it found its files damaged
        refs = {role: worker.write(b, f"again-{role}-{step}", b"again") for role in ("resume", "best")}
        for _ in range(2):  # the first answer was lost
            worker.report(b, step, worker.score(b.params, step), **refs)
    left = {path.name for path in Path(b.store).iterdir()} - {"log.txt"}
    assert left == {"again-resume-2", "again-best-2"}
    worker.finish(b, "lost")
    c = worker.take()
    assert (c.checkpoint.step, c.checkpoint.best_step) == (2, 2)
    assert c.checkpoint.resume is not None
    assert c.checkpoint.best is not None
    assert (c.checkpoint.resume.name, c.checkpoint.best.name) == ("again-resume-2", "again-best-2")
    worker.train(c)
    worker.drain()
    assert [value["step"] for value in house.trials()[0]["values"]] == [1, 2, 3]
    assert exact(house, 1)["state"] == "completed"


def test_a_late_repeat_names_no_file_that_is_gone(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 1}, space={"learning_rate": 1e-4, "epochs": 3})
    a = worker.take()
    first = {role: worker.write(a, f"{role}-1", b"one") for role in ("resume", "best")}
    worker.report(a, 1, 0.5, **first)
    worker.report(a, 2, 0.6, **{role: worker.write(a, f"{role}-2", b"two") for role in ("resume", "best")})
    worker.report(a, 1, 0.5, **first)
    worker.finish(a, "released")
    b = worker.take()
    assert b.checkpoint.resume is not None
    assert b.checkpoint.best is not None
    assert (b.checkpoint.resume.name, b.checkpoint.best.name) == ("resume-2", "best-2")


@pytest.mark.full
def test_a_damaged_champion_stays_and_the_run_says_so(nightly: Callable[..., Nightly]) -> None:
    it = nightly()
    it.run("a")
    before = it.view()["champion"]
    a = it.until_compared("b")
    message = {"message": f"The file {a.store}/champion.tar.gz is missing or damaged."}
    it.worker.finish(a, "failed", reason="damaged", problem=message)
    it.settle()
    run = it.runs()[0]
    assert (run["state"], it.view()["champion"]) == ("failed", before)
    assert "champion.tar.gz is missing or damaged. The champion stays." in run["message"]


def test_a_damaged_model_is_said_and_not_sent(house: Running, nightly: Callable[..., Nightly]) -> None:
    study = house.finished(budget={"trials": 1})
    assert house.client.get("/v1/studies/s1/model").headers["X-Content-SHA256"] == study["model"]["sha256"]
    path = next((house.settings.home / "store").glob("*/model.tar.gz"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    answer = problem(house.client.get("/v1/studies/s1/model"), 404)
    assert f"{path.parent.name}/model.tar.gz" in answer["detail"]
    assert "damaged" in answer["detail"]
    it = nightly()
    it.run("a")
    champion = next((house.settings.home / "store").glob("schedule-1/*"))
    champion.write_bytes(b"?")
    assert "damaged" in problem(house.client.get("/v1/schedules/nightly/champion"), 404)["detail"]
