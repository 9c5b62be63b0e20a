"""A claim whose answer is lost: the trial that nobody received comes back, and nothing is counted against it."""

import socket
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from luthier.service.dispatch import reaper
from luthier.service.dispatch.claims import Claims
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import Assignment, AssignmentKind, Claim
from tests.support.harness import Running, ScriptedWorker, held
from tests.support.tiers import a_few
from tests.support.waiting import until

pytestmark = pytest.mark.both_databases

LEASE = 30.0


def expire(house: Running) -> None:
    house.move_clock(LEASE + 1)
    house.reap()


def row(house: Running) -> AssignmentRow:
    with house.core.database.reading() as session:
        return session.scalars(select(AssignmentRow).where(AssignmentRow.kind == AssignmentKind.TRAIN)).one()


def test_a_trial_that_nobody_received_loses_nothing(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    for attempt in range(1, 3 * house.settings.max_losses):
        a = worker.claim()
        assert a is not None
        assert (a.number, a.attempt) == (0, attempt)
        expire(house)
        assert (row(house).state, row(house).losses) == ("queued", 0)
    worker.train(worker.take())
    assert house.trials()[0]["state"] == "complete"


def test_what_no_worker_can_read_is_not_handed_out_for_ever(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "MOST_UNRECEIVED", 4)
    house.started(worker)
    for _ in range(4 + house.settings.max_losses):
        assert worker.claim() is not None
        expire(house)
    assert (row(house).state, row(house).reason) == ("failed", "lost_worker")


@pytest.mark.parametrize("kind", a_few(1, [AssignmentKind.INSPECT, AssignmentKind.EVALUATE]))
def test_side_work_that_nobody_received_fails_no_study(
    house: Running, worker: ScriptedWorker, kind: AssignmentKind
) -> None:
    house.create(budget={"trials": 1})
    while (a := worker.claim()) is not None and a.kind is not kind:
        worker.work(a)
    for _ in range(house.settings.max_losses):
        assert a is not None
        assert a.kind is kind
        expire(house)
        a = worker.claim()
    assert a is not None
    worker.work(a)
    worker.drain()
    assert house.study()["state"] == "completed"


@pytest.mark.parametrize("message", ["renew", "report", "send", "fetch"])
def test_any_message_is_a_receipt(house: Running, worker: ScriptedWorker, message: str) -> None:
    house.started(worker)
    a = worker.claim()
    assert a is not None
    assert not row(house).received
    url = f"/v1/worker/files/{a.id}/best"
    lease = {"X-Lease-Token": a.token, "X-Content-SHA256": "0" * 64}
    match message:
        case "renew":
            worker.renew(a)
        case "report":
            worker.report(a, 1, 0.5)
        case "send":
            assert worker.client.put(url, content=b"x", headers=lease).status_code == 422, "another checksum"
        case "fetch":
            assert worker.client.get(url, headers=lease).status_code == 404
    expire(house)
    assert (row(house).state, row(house).losses) == ("queued", 1)


def test_a_later_attempt_has_a_receipt_of_its_own(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    worker.take()
    expire(house)
    assert worker.claim() is not None
    expire(house)
    assert row(house).losses == 1


@pytest.mark.full
def test_a_worker_that_hung_up_while_it_was_answered_gives_the_trial_back(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.started(worker)
    gone = httpx.URL(house.url)
    answered = Claims.claim

    def slow(claims: Claims, claim: Claim) -> Assignment | None:
        if claim.worker == "gone":
            connection.close()
            until(lambda: not Path(f"/proc/self/fd/{descriptor}").exists())
        return answered(claims, claim)

    monkeypatch.setattr(Claims, "claim", slow)
    connection = socket.create_connection((str(gone.host), int(gone.port or 0)))
    descriptor = connection.fileno()
    body = b'{"worker": "gone", "wait_seconds": 0}'
    head = f"POST /v1/worker/claim HTTP/1.1\r\nHost: {gone.host}\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
    until(lambda: house.trials() and house.trials()[0]["state"] == "queued")
    assert row(house).losses == 0
    a = worker.take()
    assert (a.number, a.attempt) == (0, 2)
    worker.train(a)
    assert house.trials()[0]["state"] == "complete"


def test_a_finish_alone_ends_the_trial(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    a = worker.claim()
    assert a is not None
    worker.post("finish", **held(a), status="lost")
    assert row(house).losses == 1, "the worker said itself that its child died"
