"""Workers that wait for work: one look for all, as many woken as there is work, and nobody forgotten."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from luthier.service.api import waiting_line
from luthier.service.dispatch.claims import Claims
from luthier.service.storage.presence import WAITING_SECONDS
from luthier.service.storage.service_tables import WorkerRow
from luthier.service.storage.work_queue import count_work
from luthier.studies.protocol import Assignment, AssignmentKind, Claim
from tests.support.crowd import found, waiting, waiting_until_hung_up
from tests.support.harness import INSPECTION, Running, ScriptedWorker, running
from tests.support.several_services import Together, check_exact, create
from tests.support.waiting import until

GB = 10**9
A, B = ({"id": f"GPU-{letter}", "total_bytes": 80 * GB} for letter in "ab")


@pytest.fixture
def house(house: Running) -> Iterator[Running]:
    """At the end claims that still wait are answered, as the service waits for its requests."""
    yield house
    house.app.state.service.notifier.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The workers whose claims looked for work, in order."""
    names: list[str] = []
    claim = Claims.claim

    def counted(self: Claims, message: Claim) -> Assignment | None:
        names.append(message.worker)
        return claim(self, message)

    monkeypatch.setattr(Claims, "claim", counted)
    return names


@pytest.fixture
def only_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look but after a change: whoever is not woken by it waits for as long as a claim may."""
    monkeypatch.setattr(waiting_line, "POLL_SECONDS", 3600.0)


def statements(house: Running, seconds: float) -> list[str]:
    """Return what the service sends to the database in so many seconds."""
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    event.listen(house.core.database.engine, "before_cursor_execute", note)
    time.sleep(seconds)
    event.remove(house.core.database.engine, "before_cursor_execute", note)
    return seen


@pytest.mark.full
def test_the_database_hears_little_of_workers_that_wait(house: Running) -> None:
    waiting(house, 40)
    seen = statements(house, 2.5)
    about_workers = [statement for statement in seen if "luthier_worker" in statement]
    assert len(about_workers) <= 4, "all of them are stored in one statement, and not every second"
    assert len(seen) < 80, "the reaper's, and one look a second"


def counts_as_waiting(house: Running, name: str, later: float = 0.0) -> bool:
    """Return whether a worker counts as waiting so many seconds later, if nothing is heard of it."""
    with house.core.database.reading() as session:
        row = session.get(WorkerRow, name)
        return row is not None and row.seen_at > house.core.database.time(session) + later - WAITING_SECONDS


@pytest.mark.full
def test_a_worker_that_waits_counts_as_waiting_until_it_hangs_up(house: Running) -> None:
    """Also between two writes; in lists it is there, and was not seen in the future."""
    with waiting_until_hung_up(house, "b1", B):
        until(lambda: counts_as_waiting(house, "b1", 10.0))
        view = house.get("/v1/workers")["items"][0]
        assert view["state"] == "idle"
        assert datetime.fromisoformat(view["last_seen_at"]) < datetime.now(UTC) + timedelta(seconds=5)
    until(lambda: not counts_as_waiting(house, "b1"), 10)
    assert house.get("/v1/workers")["items"][0]["state"] == "idle"


def test_only_as_many_are_woken_as_there_is_work(house: Running, looks: list[str], only_woken: None) -> None:
    crowd = waiting(house, 20)
    looks.clear()
    house.create(parallel=3)
    first = found(crowd, 1)
    assert len(looks) == 1, "there was one inspection"
    first[0].worker.inspect(first[0].found)  # type: ignore[arg-type]
    found(crowd, 4)
    time.sleep(0.3)
    assert sum(one.found is not None for one in crowd) == 4, "three trials at the same time"
    assert len(looks) <= 8, "the first draw may take so long that another claim looks beside it"


def test_who_waits_longest_is_woken_first(house: Running, only_woken: None) -> None:
    first = waiting(house, 1, prefix="first")
    crowd = waiting(house, 5)
    house.create()
    assert found(first + crowd, 1) == first


def test_the_last_in_line_gets_what_fits_on_no_other_gpu(house: Running, only_woken: None) -> None:
    house.started(house.worker("cpu"), "s1", parallel=1, resources={"gpus": 0.6})
    house.worker("a", A).take()
    crowd = waiting(house, 12, A)
    last = waiting(house, 1, B, "last")
    house.create("s2", parallel=1, resources={"gpus": 0.6})
    inspector = found(crowd + last, 1)[0]
    inspector.worker.finish(inspector.found, inspection=INSPECTION.model_dump(mode="json"))  # type: ignore[arg-type]
    assert found(last, 1)[0].found.kind is AssignmentKind.TRAIN  # type: ignore[union-attr]


@pytest.mark.full
def test_who_hung_up_keeps_no_work_from_others(house: Running) -> None:
    """A worker on an idle GPU goes first, for as long as it waits."""
    house.started(house.worker("cpu"), resources={"gpus": 0.25}, parallel=8)
    house.worker("a1", A).take()
    house.client.post("/v1/studies/s1/pause")
    with waiting_until_hung_up(house, "b1", B):
        until(lambda: counts_as_waiting(house, "b1", 10.0))
    house.client.post("/v1/studies/s1/resume")
    second = house.worker("a2", A)
    until(second.claim, 8)  # it was stored as waiting for 15 s


def test_work_that_another_service_brings_is_found(house: Running, database_url: str, tmp_path: Path) -> None:
    crowd = waiting(house, 3)
    with running(tmp_path / "other", database_url) as other:
        other.create()
        found(crowd, 1)


@pytest.mark.full
def test_claims_leave_the_threads_of_other_requests_alone(house: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study whose search takes long, and many workers that come at the same moment."""
    opened, claim = threading.Event(), Claims.claim

    def slow(self: Claims, message: Claim) -> Assignment | None:
        opened.wait(30)
        return claim(self, message)

    monkeypatch.setattr(Claims, "claim", slow)
    workers = [house.worker(f"w{i}") for i in range(60)]
    threads = [threading.Thread(target=worker.claim, daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.5)
        assert house.client.get("/v1/studies", timeout=10).status_code == 200
    finally:
        opened.set()
        for thread in threads:
            thread.join()


@pytest.mark.full
@pytest.mark.parametrize(
    ("workers", "studies", "trials"), [(12, 3, 8), pytest.param(50, 4, 50, marks=pytest.mark.wide)]
)
def test_no_wake_up_is_lost(
    house: Running, database_url: str, only_woken: None, workers: int, studies: int, trials: int
) -> None:
    """More workers than slots, several studies, and no second look: each trial is done although all wait for it."""
    names = [f"s{i}" for i in range(1, studies + 1)]
    crowd = Together([house.url], workers, wait_seconds=60.0)
    with crowd:
        for name in names:
            create(house.url, name=name, parallel=workers // 4, budget={"trials": trials})
        ended = [until(partial(_ended, house, name), 50, 0.05) for name in names]
        crowd.leave()
        house.app.state.service.notifier.close()  # whoever waits is answered
    for study in ended:
        check_exact(house.url, database_url, study, trials)


def _ended(house: Running, name: str) -> dict[str, Any] | None:
    study = house.study(name)
    return study if study["finished_at"] is not None else None


@pytest.mark.full
def test_work_is_counted_as_claims_hand_it_out(house: Running, worker: ScriptedWorker) -> None:
    def work(only: str | None = None) -> int:
        with house.core.database.reading() as session:
            return count_work(session, only)

    def act(action: str) -> None:
        assert house.client.post(f"/v1/studies/s1/{action}").status_code == 200

    assert work() == 0
    house.create("s1", parallel=3, budget={"trials": 4})
    house.create("s2")
    assert (work(), work("s1"), work("s3")) == (2, 1, 0)
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    assert (work(), work("s1")) == (4, 3)
    house.client.post("/v1/studies/s2/cancel")
    held = [worker.take(), worker.take()]
    assert work() == 1
    act("pause")
    assert work() == 0
    act("resume")
    worker.train(held[0])
    assert work() == 2, "of three slots, and of two trials that are left"
    worker.finish(held[1], "released")
    assert work() == 1, "nothing is drawn while one that was given back waits"
    worker.work(worker.take())
    worker.train(worker.take())
    assert work() == 1, "one trial is left of the budget"
    worker.train(worker.take())
    assert work() == 1, "the winner is to be measured"
    assert worker.claim() is not None
    assert work() == 0
