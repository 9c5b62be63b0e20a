"""Data or models that workers lack after a good inspection: work is given back, the study pauses, and resumes whole."""

from pathlib import Path
from typing import Any

import pytest

from luthier.service.lifecycle import absences, study_rows
from luthier.service.lifecycle.absences import FIRST_REST, LONGEST_REST, PATIENCE_SECONDS
from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.absences import GONE, say_away, work_until
from tests.support.harness import Running, ScriptedWorker, running
from tests.support.several_services import create, processes
from tests.support.tiers import a_few

SERIAL: dict[str, Any] = {"parallel": 1, "budget": {"trials": 4, "failures": 1}}


def lack(house: Running, worker: ScriptedWorker, a: Assignment) -> Assignment:
    """Let the only worker lack the data of what it holds twice; return what it got the second time."""
    say_away(worker, a)
    assert worker.claim() is None, "it rests"
    house.move_clock(FIRST_REST)
    again = worker.claim()
    assert again is not None
    assert (again.id, again.kind, again.number, again.seed, again.params) == (a.id, a.kind, a.number, a.seed, a.params)
    say_away(worker, again)
    return again


def resume(house: Running) -> dict[str, Any]:
    answer = house.client.post("/v1/studies/s1/resume")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def scores(house: Running, name: str) -> list[Any]:
    return [(trial["params"], trial["seed"], trial["value"], trial["values"]) for trial in house.trials(name)]


def check_whole(house: Running, **changes: Any) -> None:
    """Check that the study ended as one of the same spec that nothing disturbed."""
    study, plain = house.study(), house.finished("plain", **changes)
    assert (study["state"], study["warnings"], study["error"]) == ("completed", [], None)
    assert study["message"] == plain["message"]
    assert study["counts"] == plain["counts"]
    assert scores(house, "s1") == scores(house, "plain")
    assert study["best"] == plain["best"]
    assert [(t.params, t.value) for t in house.optuna()] == [(t.params, t.value) for t in house.optuna("plain")]


@pytest.mark.both_databases
def test_after_the_second_the_study_pauses_and_resumes_whole(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, **SERIAL)
    worker.work(worker.take())
    a = worker.take()
    worker.train(a, 1)
    say_away(worker, a)
    study = house.study()
    assert (study["state"], study["message"], study["counts"]["queued"]) == ("running", None, 1)
    assert GONE in study["warnings"][0]
    assert "w1" in study["warnings"][0]
    assert worker.claim() is None
    house.move_clock(FIRST_REST)
    again = worker.take()
    assert (again.number, again.seed, again.checkpoint.step) == (1, a.seed, 1)
    say_away(worker, again)
    study = house.study()
    assert study["state"] == "paused"
    assert study["message"] == study["warnings"][0]
    for part in (GONE, "Worker w1", "`luthier resume s1`"):
        assert part in study["message"]
    assert study["counts"] | {"complete": 0, "queued": 0} == dict.fromkeys(study["counts"], 0), "nothing failed"
    house.move_clock(3600)
    house.reap()
    assert worker.claim() is None
    assert house.study()["state"] == "paused"
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE", "RUNNING"]

    study = resume(house)
    assert (study["state"], study["message"], study["warnings"]) == ("running", None, [])
    worker.drain()
    check_whole(house, **SERIAL)


@pytest.mark.both_databases
def test_a_worker_that_lacks_the_data_leaves_the_search_to_another(house: Running, worker: ScriptedWorker) -> None:
    changes = {"parallel": 1, "budget": {"trials": 6, "failures": 1}}
    house.started(worker, **changes)
    other = house.worker("other")
    lacked, rest = 0, FIRST_REST
    while (a := other.claim()) is not None and a.kind is AssignmentKind.TRAIN:
        say_away(other, a)
        lacked += 1
        assert other.claim() is None, "it rests"
        house.move_clock(rest - 1)
        assert other.claim() is None, f"its rest of {rest} s is not over"
        worker.work(worker.take())
        assert house.study()["state"] == "running"
        assert "Worker other" in house.study()["warnings"][0]
        rest = min(2 * rest, LONGEST_REST)
        house.move_clock(rest)
    assert lacked == 6
    assert a is not None
    say_away(other, a)
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    check_whole(house, **changes)


@pytest.mark.full
def test_one_rest_keeps_no_work_of_other_studies_from_a_worker(house: Running, worker: ScriptedWorker) -> None:
    """Many trials of the study are queued before it."""
    house.started(worker, "s1", parallel=30, budget={"trials": 30})
    held = [worker.take() for _ in range(25)]
    for a in held[1:]:
        worker.finish(a, "released")
    say_away(worker, held[0])
    house.create("s2", budget={"trials": 1})
    assert worker.take(AssignmentKind.INSPECT).study == "s2"


def test_who_holds_work_of_the_study_is_waited_for(house: Running, worker: ScriptedWorker) -> None:
    """Its evaluations take longer than the rests of a worker without the data."""
    house.started(worker, parallel=2)
    other, busy = house.worker("other"), worker.take()
    for n in range(4):
        house.move_clock(FIRST_REST * 2**n)
        worker.renew(busy)
        say_away(other, other.take())
        assert house.study()["state"] == "running"
    worker.train(busy)
    house.move_clock(FIRST_REST * 2**4)
    say_away(other, other.take())
    assert house.study()["state"] == "running", "in a row means since the last that did well"
    house.move_clock(FIRST_REST * 2**5)
    say_away(other, other.take())
    assert house.study()["state"] == "paused"


@pytest.mark.full
def test_who_is_busy_elsewhere_is_waited_for_a_while(house: Running, worker: ScriptedWorker) -> None:
    other = house.worker("other")
    house.started(worker, "s0", budget={"trials": 1})
    elsewhere = worker.take()
    house.started(other, parallel=1)
    spent = 0.0
    for n in range(30):
        say_away(other, other.take())
        if spent >= PATIENCE_SECONDS:
            break
        assert house.study()["state"] == "running"
        seconds = min(FIRST_REST * 2**n, LONGEST_REST)
        spent += seconds
        house.move_clock(seconds)
        worker.renew(elsewhere)
    assert house.study()["state"] == "paused"


def test_workers_that_all_lack_it_are_not_waited_for(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=3)
    workers = [worker, house.worker("w2"), house.worker("w3")]
    held = [each.take() for each in workers]
    for each, a in zip(workers, held, strict=True):
        assert house.study()["state"] == "running"
        say_away(each, a)
    study = house.study()
    assert (study["state"], study["counts"]["queued"]) == ("paused", 3)
    assert "Worker w3" in study["message"]


@pytest.mark.both_databases
def test_running_trials_of_others_go_on_while_it_is_paused(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=2, budget={"trials": 3})
    silent, other = worker.take(), house.worker("other")
    house.move_clock(house.settings.lease_seconds + 1)  # it may be gone: nobody waits for it
    for rest in (FIRST_REST, 0):
        say_away(other, other.take())
        house.move_clock(rest)
    assert house.study()["state"] == "paused"
    worker.train(silent)
    study = house.study()
    assert (study["state"], study["counts"]["complete"]) == ("paused", 1)
    assert "Worker other" in study["message"]
    resume(house)
    worker.drain()
    assert house.study()["counts"]["complete"] == 3


CONFIRMED = {"confirm": {"candidates": 2, "seeds": 2}, "budget": {"trials": 3}, "parallel": 1}


@pytest.mark.full
@pytest.mark.both_databases
@pytest.mark.parametrize("kind", a_few(1, [AssignmentKind.CONFIRM, AssignmentKind.EVALUATE]))
def test_so_does_what_comes_after_the_search(house: Running, worker: ScriptedWorker, kind: AssignmentKind) -> None:
    house.create(**CONFIRMED)
    lack(house, worker, work_until(worker, kind))
    study = house.study()
    assert study["state"] == "paused"
    assert GONE in study["message"]
    house.move_clock(3600)
    house.reap()
    assert worker.claim() is None
    resume(house)
    worker.drain()
    check_whole(house, **CONFIRMED)
    assert house.client.get("/v1/studies/s1/model").status_code == 200


def test_so_does_a_training_of_damaged_weights(house: Running, worker: ScriptedWorker) -> None:
    house.create(budget={"trials": 2})
    a = work_until(worker, AssignmentKind.EVALUATE)
    assert a.checkpoint.best is not None
    (Path(a.store) / a.checkpoint.best.name).unlink()
    worker.finish(a, "failed", reason="damaged", problem={"message": "It is gone."})
    lack(house, worker, worker.take(AssignmentKind.CONFIRM))
    assert house.study()["state"] == "paused"
    resume(house)
    worker.drain()
    assert house.study()["state"] == "completed"


def test_a_stopped_study_pauses_and_ends_stopped(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1)
    worker.work(worker.take())
    a = worker.take()
    house.client.post("/v1/studies/s1/stop").raise_for_status()
    lack(house, worker, a)
    assert house.study()["state"] == "paused"
    assert house.client.post("/v1/studies/s1/stop").status_code == 409
    assert resume(house)["state"] == "stopping"
    worker.drain()
    study = house.study()
    assert (study["state"], study["message"]) == ("stopped", "Stopped on request.")
    assert study["counts"]["complete"] == 2


def test_a_paused_study_can_be_cancelled(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1)
    lack(house, worker, worker.take())
    house.client.post("/v1/studies/s1/cancel").raise_for_status()
    study = house.study()
    assert (study["state"], study["message"], study["warnings"]) == ("cancelled", "Cancelled on request.", [])


def test_a_study_whose_time_is_up_waits_for_its_winners_data(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 9, "wall_clock_seconds": 100})
    worker.work(worker.take())
    lack(house, worker, worker.take())
    house.move_clock(100)
    house.reap()
    a = worker.take()  # it was given back, and has to end first
    say_away(worker, a)
    study = house.study()
    assert study["state"] == "paused"
    assert GONE in study["message"]
    resume(house)
    worker.drain()
    study = house.study()
    assert (study["state"], study["error"]) == ("completed", None)
    assert "wall-clock" in study["message"]


@pytest.mark.full
def test_it_is_no_loss_and_no_failure_however_often(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, **SERIAL)
    for _ in range(4 * house.settings.max_losses):
        lack(house, worker, worker.take())
        resume(house)
    worker.drain()
    check_whole(house, **SERIAL)
    assert house.study()["gpu_seconds"] == house.study("plain")["gpu_seconds"], "no budget pays for it"


def test_plain_bad_data_fails_the_trial_as_before(house: Running, worker: ScriptedWorker) -> None:
    """A configuration's own fault, and all that a worker of an older version can say."""
    house.started(worker, parallel=1, budget={"trials": 3})
    worker.finish(worker.take(), "failed", reason="bad_data", problem={"message": "No such batch."})
    worker.drain()
    study = house.study()
    assert (study["state"], study["counts"]["failed"], study["counts"]["complete"]) == ("completed", 1, 2)
    assert house.trials()[0]["reason"] == "bad_data"


def test_an_inspection_that_is_said_to_lack_data_fails(house: Running, worker: ScriptedWorker) -> None:
    house.create()
    say_away(worker, worker.take(AssignmentKind.INSPECT))
    study = house.study()
    assert (study["state"], study["error"]) == ("failed", GONE)


def test_a_repeated_message_counts_once(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    a = worker.take()
    say_away(worker, a)
    with pytest.raises(Exception, match="This lease is over"):
        say_away(worker, a)
    assert house.study()["state"] == "running"


@pytest.mark.full
def test_a_worker_that_waits_gets_the_work_after_its_rest(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absences, "FIRST_REST", 0.5)
    house.started(worker)
    a = worker.take()
    say_away(worker, a)
    again = worker.claim(wait_seconds=20)
    assert again is not None
    assert again.id == a.id


def test_a_row_that_cannot_be_read_stops_nothing(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1)
    say_away(worker, worker.take())
    with house.core.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE luthier_study SET away = '{\"rests\": 1}'")
    assert house.study()["warnings"] == []
    worker.drain()
    assert house.study()["state"] == "completed"


@pytest.mark.full
@pytest.mark.both_databases
def test_a_service_that_is_killed_meanwhile_forgets_nothing(database_url: str, tmp_path: Path) -> None:
    with processes(tmp_path / "home", database_url, 1) as (service,):
        create(service.url, **SERIAL)
        worker = ScriptedWorker(service.url, patient_seconds=40)
        worker.inspect(worker.take(AssignmentKind.INSPECT))
        worker.work(worker.take())
        say_away(worker, worker.take())
        service.kill()
        service.start()
        again = worker.claim(wait_seconds=30)  # after its rest, in this service too
        assert again is not None
        say_away(worker, again)
        service.kill()
        service.start()
        study = dict(worker.send("GET", "/v1/studies/s1").json())
        assert study["state"] == "paused"
        assert GONE in study["message"]
        assert worker.claim(wait_seconds=2) is None
        worker.send("POST", "/v1/studies/s1/resume")
        service.kill()
        service.start()
        worker.drain(wait_seconds=2)
        study = dict(worker.send("GET", "/v1/studies/s1").json())
        assert (study["state"], study["counts"]["complete"], study["warnings"]) == ("completed", 4, [])
        worker.client.close()


def test_however_many_workers_lack_it_some_are_remembered(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absences, "MOST_RESTS", 3)
    house.started(worker, parallel=9, budget={"trials": 9})
    workers = [house.worker(f"w{n}") for n in range(9)]
    held = [each.take() for each in workers]
    for each, a in zip(workers, held, strict=True):
        say_away(each, a)
    with house.core.database.reading() as session:
        away = absences.found(study_rows.find(session, "s1"))
    assert away is not None
    assert list(away.rests) == ["w6", "w7", "w8"]
    assert house.study()["state"] == "paused"


def test_two_services_agree(house: Running, worker: ScriptedWorker, database_url: str) -> None:
    with running(house.settings.home, database_url) as other:
        house.started(worker, parallel=1)
        say_away(worker, worker.take())
        elsewhere = other.worker("w1")
        assert elsewhere.claim() is None, "it rests there too"
        other.move_clock(FIRST_REST)
        say_away(elsewhere, elsewhere.take())
        assert house.study()["state"] == "paused"
