"""An error of one study's search stays on that study: others go on, and so does it once it can."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from sqlalchemy.exc import OperationalError

from luthier.service.api import creation, waiting_line
from luthier.service.cli.follow import Lines, follow
from luthier.service.client import Client
from luthier.service.dispatch import search_faults
from luthier.service.dispatch.claims import Claims
from luthier.service.lifecycle import study_rows
from luthier.studies.protocol import AssignmentKind, Decision
from luthier.studies.search.search import Search
from tests.support.command_line import command_in
from tests.support.harness import Running, ScriptedWorker, paths, problem, spec
from tests.support.tiers import a_few
from tests.support.waiting import until

PAUSE = search_faults.FIRST_PAUSE
Poison = Callable[..., None]


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Poison:
    """Return a function that lets a method of the search of study `sick` raise."""

    def poison(method: str, make: Callable[[], Exception]) -> None:
        real = getattr(Search, method)

        def broken(search: Search, *arguments: Any) -> Any:
            if search.spec.name == "sick":
                raise make()
            return real(search, *arguments)

        monkeypatch.setattr(Search, method, broken)

    return poison


def both(house: Running, worker: ScriptedWorker) -> None:
    """Create a study whose search is going to fail, and after it one that is well."""
    house.started(worker, "sick", budget={"trials": 4})
    house.started(worker, "well", budget={"trials": 4})


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "study sick" in record.getMessage()]


ERRORS = {
    "value": lambda: ValueError("study sick has 2 trials, so the next one is 2, not 3"),
    "storage": lambda: StorageInternalError("An exception is raised during the commit."),
    "duplicate": DuplicatedStudyError,
    "key": lambda: KeyError("Record does not exist."),
    "overflow": lambda: OverflowError("cannot convert float infinity to integer"),
    "disk": lambda: OSError(5, "Input/output error"),
}


@pytest.mark.parametrize("kind", a_few(2, ERRORS))
def test_others_go_on(
    house: Running, worker: ScriptedWorker, poison: Poison, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    both(house, worker)
    poison("ask", ERRORS[kind])
    began = time.monotonic()
    a = worker.take()
    assert a.study == "well"
    assert time.monotonic() - began < 1 + PAUSE
    worker.work(a)
    for other in ("w2", "w3"):
        house.worker(other).drain()
    assert house.study("well")["state"] == "completed"
    (warning,) = house.study("sick")["warnings"]
    assert warning.startswith("No trial can be drawn now: ")
    assert warning.endswith("The service tries again.")
    assert len(lines(caplog)) == 1, "it is logged once"
    has_traceback = lines(caplog)[0].exc_info is not None
    assert has_traceback == (kind in ("value", "key", "overflow"))
    assert house.study("sick")["state"] == "running"


@pytest.mark.parametrize("method", a_few(1, ["ask", "count"]))
def test_it_goes_on_by_itself(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    house.started(worker, "sick", budget={"trials": 3})
    real, asked = getattr(Search, method), []

    def broken_twice(search: Search, *arguments: Any) -> Any:
        asked.append(search)
        if len(asked) <= 2:
            raise RuntimeError("for now")
        return real(search, *arguments)

    monkeypatch.setattr(Search, method, broken_twice)
    monkeypatch.setattr(search_faults, "FIRST_PAUSE", 0.3)
    monkeypatch.setattr(waiting_line, "POLL_SECONDS", 0.05)
    assert worker.claim() is None
    assert worker.claim() is None
    assert len(asked) == 1, "it is left alone for a while"
    a = worker.claim(wait_seconds=20)
    assert a is not None
    assert house.study("sick")["warnings"] == []
    worker.work(a)
    worker.drain()
    assert house.study("sick")["state"] == "completed"


def test_pauses_grow_and_end(house: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    faults = search_faults.SearchFaults(house.core.database)
    pauses = []
    for _ in range(8):
        faults.note(1, "s1", search_faults.Doing.DRAW, RuntimeError("no"))
        start = now
        while faults.rests(1, search_faults.Doing.DRAW):
            now += 0.5
        pauses.append(now - start)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    faults.note(1, "s1", search_faults.Doing.DRAW, RuntimeError("no"))
    faults.wake()
    assert not faults.rests(1, search_faults.Doing.DRAW)


@pytest.mark.full
def test_what_always_fails_ends_the_study_and_its_winner_is_measured(
    house: Running, worker: ScriptedWorker, poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_faults, "FIRST_PAUSE", 0.0)
    both(house, worker)
    first = worker.take()
    assert first.study == "sick"
    worker.train(first)
    while (running := worker.take()).study != "sick":
        worker.work(running)
    worker.train(running, steps=1)
    poison("ask", lambda: ValueError("The value 0.5 is not contained"))
    worker.drain()
    assert house.study("well")["state"] == "completed"
    while house.study("sick")["error"] is None:
        worker.drain()
    assert house.study("sick")["state"] == "running", "its running trial ends first"
    worker.finish(running)
    evaluation = worker.take(AssignmentKind.EVALUATE)
    worker.evaluate(evaluation)
    study = house.study("sick")
    assert study["state"] == "failed"
    assert "failed 3 times in the same way: ValueError: The value 0.5 is not contained." in study["error"]
    assert study["model"] is not None
    assert study["warnings"] == []
    assert [t.state.name for t in house.optuna("sick")] == ["COMPLETE", "COMPLETE"]


def test_a_storage_that_fails_ends_no_study(
    house: Running, worker: ScriptedWorker, poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_faults, "FIRST_PAUSE", 0.0)
    both(house, worker)
    poison("ask", ERRORS["storage"])
    for _ in range(5):
        worker.drain()
    assert house.study("sick")["state"] == "running"


@pytest.mark.parametrize("method", ["report", "tell"])
def test_a_report_counts_though_the_search_fails(
    house: Running, worker: ScriptedWorker, poison: Poison, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    both(house, worker)
    with pytest.MonkeyPatch.context() as patch:
        real = getattr(Search, method)
        patch.setattr(Search, method, lambda *_: (_ for _ in ()).throw(RuntimeError("out of luck")))
        a = worker.take()
        assert worker.report(a, 1, 0.7) is Decision.CONTINUE
        worker.finish(a)
        house.reap()
        assert len(lines(caplog)) == 1
        assert "out of luck" in house.study("sick")["warnings"][0]
        patch.setattr(Search, method, real)
        house.core.searches.faults.wake()
        house.reap()
    assert house.study("sick")["warnings"] == []
    assert house.optuna("sick")[0].values == [0.7]
    assert house.optuna("sick")[0].intermediate_values == {1: 0.7}


@pytest.mark.parametrize("action", a_few(1, ["cancel", "stop"]))
def test_a_study_ends_though_its_search_fails(
    house: Running, worker: ScriptedWorker, poison: Poison, action: str
) -> None:
    both(house, worker)
    a = worker.take()
    worker.report(a, 1, 0.7)
    for method in ("tell", "unfinished", "ask"):
        poison(method, lambda: RuntimeError("out of luck"))
    assert house.client.post(f"/v1/studies/sick/{action}").status_code == 200
    if action == "cancel":
        assert house.study("sick")["state"] == "cancelled"
    house.reap()
    worker.drain()
    assert house.study("well")["state"] == "completed"


def test_a_tick_mends_others(house: Running, worker: ScriptedWorker, poison: Poison) -> None:
    both(house, worker)
    held = [worker.take() for _ in range(4)]
    with house.core.database.engine.begin() as connection:
        for a in held:
            connection.exec_driver_sql(f"UPDATE luthier_assignment SET state = 'failed' WHERE id = {a.id}")
    poison("unfinished", lambda: RuntimeError("out of luck"))
    with house.core.database.reading() as session:
        house.core.searches.forget(study_rows.find(session, "well").id)
    house.reap()
    assert [t.state.name for t in house.optuna("well")] == ["FAIL", "FAIL"]
    assert "results of trials" in house.study("sick")["warnings"][0]


def test_a_users_configuration_waits(house: Running, worker: ScriptedWorker, poison: Poison) -> None:
    both(house, worker)
    mine = {"learning_rate": 3e-4, "batch_size": 16, "epochs": 2, "freeze_depth": 2}
    poison("enqueue", lambda: RuntimeError("out of luck"))
    answer = house.client.post("/v1/studies/sick/trials", json={"params": mine})
    assert "out of luck" in problem(answer, 503)["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert house.client.post("/v1/studies/well/trials", json={"params": mine}).status_code == 201


def test_our_own_database_away_is_503(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    both(house, worker)

    def away(*_: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("the server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(Claims, "_draw_trial", away)
        problem(worker.client.post("/v1/worker/claim", json={"worker": "w1", "wait_seconds": 0}), 503)
    assert worker.take().study == "sick"
    assert house.study("sick")["warnings"] == []
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.full
def test_a_study_whose_trials_are_being_read_keeps_nobody_waiting(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(house, worker)
    a = worker.take()
    with house.core.database.reading() as session:
        house.core.searches.forget(study_rows.find(session, "sick").id)
    read, real = threading.Event(), Search.unfinished

    def slow(search: Search) -> list[int]:
        if search.spec.name == "sick":
            assert read.wait(30)
        return real(search)

    monkeypatch.setattr(Search, "unfinished", slow)
    try:
        assert worker.report(a, 1, 0.7) is Decision.CONTINUE
        assert worker.take().study == "well"
        house.reap()
        assert "being read" in problem(house.client.get("/v1/studies/sick/plots/timeline"), 503)["detail"]
        with house.core.database.transaction() as session:  # the lock of writers is free
            study_rows.lock(session, "sick")
    finally:
        read.set()
    worker.finish(a)
    for name in ("w2", "w3", "w4"):
        house.worker(name).drain(wait_seconds=1)
    assert house.study("sick")["state"] == "completed"
    assert house.optuna("sick")[0].intermediate_values == {1: 0.7}


TOO_FINE = {"learning_rate": {"low": 1e-6, "high": 1e-3, "step": 1e-12}, "epochs": 2}


def test_a_space_that_cannot_be_drawn_from_is_refused(house: Running) -> None:
    refused = spec("sick", space=TOO_FINE, sampler={"name": "random"})
    for path in ("/v1/studies", "/v1/studies:plan"):
        assert paths(house.client.post(path, json=refused)) == {"space.learning_rate.step"}
    template = {name: value for name, value in refused.items() if name != "name"}
    nightly = {"name": "nightly", "cron": "0 3 * * *", "study": template}
    assert paths(house.client.post("/v1/schedules", json=nightly)) == {"study.space.learning_rate.step"}
    assert house.get("/v1/studies")["items"] == []


@pytest.mark.parametrize("sampler", a_few(1, ["random", "tpe", "qmc"]))
def test_a_stored_spec_that_cannot_be_drawn_from_ends_with_a_sentence(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    """An earlier version took it."""
    monkeypatch.setattr(creation, "search_problems", lambda _: [])
    monkeypatch.setattr(search_faults, "FIRST_PAUSE", 0.0)
    house.started(worker, "sick", space=TOO_FINE, sampler={"name": sampler}, budget={"trials": 40}, parallel=1)
    house.started(worker, "well", budget={"trials": 4}, parallel=4)

    def ended() -> bool:
        worker.drain()
        return all(house.study(name)["state"] not in ("running", "stopping") for name in ("sick", "well"))

    until(ended)
    assert house.study("well")["state"] == "completed"
    study = house.study("sick")
    assert study["state"] == "failed"
    assert "Its search failed 3 times in the same way: ValueError: The value" in study["error"]
    assert study["counts"]["complete"] == len(house.optuna("sick")) > 0
    assert study["best"]["test"] is not None


@pytest.mark.full
def test_the_command_line_shows_it(house: Running, worker: ScriptedWorker, poison: Poison, tmp_path: Path) -> None:
    both(house, worker)
    poison("ask", lambda: ValueError("out of luck"))
    worker.drain()
    for command, said in ((["get", "sick"], "now: ValueError: out of luck."), (["list"], "now")):
        printed = command_in(tmp_path)(*command, "--server", house.url).stdout
        assert f"No trial can be drawn {said}" in printed
    with Client(house.url) as api:
        lines = list(Lines().of(next(follow(api, "sick"))))
    assert "warning: No trial can be drawn now: ValueError: out of luck. The service tries again." in lines
