"""Notifications: signed, sent once where they are taken, tried again where not, and without a secret in any row."""

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from pydantic import SecretStr, ValidationError

from luthier.service.schedules import webhook
from luthier.service.schedules.webhook import PAUSES_SECONDS
from luthier.service.settings import Settings
from luthier.service.storage.schedule_tables import DeliveryRow
from luthier.service.storage.tables import StudyDeliveryRow
from tests.support.harness import Running, running, spec
from tests.support.nightly import Nightly
from tests.support.tiers import a_few

KEY = b"a secret of thirty-two characters"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


class Receiver:
    """An HTTP server that keeps what it is sent, and answers with `status`."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.taken.append(({key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(receiver.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook-1234"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.taken]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def told(receiver: Receiver, database_url: str, tmp_path: Path) -> Iterator[Running]:
    """A service with a webhook."""
    hook = {"webhook_url": SecretStr(receiver.url), "webhook_secret": SecretStr(SECRET)}
    with running(tmp_path / "home", database_url, **hook) as house:
        yield house


def deliver(house: Running) -> None:
    house.app.state.service.scheduler.deliver()


@pytest.mark.full
def test_a_run_is_told_of_once_and_signed(told: Running, receiver: Receiver) -> None:
    it = Nightly(told, told.worker())
    run = it.run("a")
    deliver(told)
    deliver(told)
    assert receiver.types() == ["run.finished", "run.promoted"]
    headers, body = receiver.taken[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    assert headers["content-type"] == "application/json"
    message = json.loads(body)
    assert message["data"]["schedule"] == "nightly"
    assert message["data"]["run"]["id"] == run["id"]
    assert message["data"]["run"]["outcome"] == "first"
    assert message["data"]["run"]["score"] == 0.75
    assert receiver.taken[0][0]["webhook-id"] != receiver.taken[1][0]["webhook-id"]


@pytest.mark.parametrize("status", [500, *a_few(0, [302]), *a_few(0, [404], pytest.mark.wide)])
def test_what_is_not_taken_is_tried_again_with_growing_pauses_and_then_given_up(
    told: Running, receiver: Receiver, status: int
) -> None:
    it = Nightly(told, told.worker(), notify=["finished"])
    it.run("a")
    receiver.status = status
    for attempt, pause in enumerate(PAUSES_SECONDS, 1):
        deliver(told)
        told.move_clock(pause - 2)
        deliver(told)
        assert len(receiver.taken) == attempt
        told.move_clock(3)
    deliver(told)
    told.move_clock(1e6)
    deliver(told)
    assert len(receiver.taken) == len(PAUSES_SECONDS) + 1
    assert len({headers["webhook-id"] for headers, _ in receiver.taken}) == 1  # a receiver can tell that it is the same
    with told.core.database.reading() as session:
        row = session.scalars(sqlalchemy.select(DeliveryRow)).one()
    assert row.error == f"It answered {status}."
    assert row.next_at is None
    assert row.delivered_at is None


@pytest.mark.full
def test_one_that_cannot_be_reached_is_told_later(told: Running, receiver: Receiver) -> None:
    it = Nightly(told, told.worker(), notify=["failed"])
    it.due()
    inspection = it.worker.claim()
    assert inspection is not None
    it.worker.finish(inspection, "failed", reason="bad_data", problem={"message": "It is gone."})
    it.house.tick(it.now)
    receiver.status = 503
    deliver(told)
    receiver.status = 200
    told.move_clock(21)
    deliver(told)
    assert receiver.types() == ["run.failed", "run.failed"]
    assert json.loads(receiver.taken[1][1])["data"]["run"]["message"] == "It is gone."


@pytest.mark.full
def test_neither_address_nor_secret_is_in_the_database_or_the_log(
    told: Running, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")  # as `luthier serve` has it
    it = Nightly(told, told.worker())
    it.run("a")
    deliver(told)
    it.run("b")
    receiver.status = 500
    deliver(told)
    secrets = ("hook-1234", base64.b64encode(KEY).decode())
    with told.core.database.engine.connect() as connection:
        for table in ("luthier_delivery", "luthier_schedule", "luthier_run"):
            found = str(connection.exec_driver_sql(f"SELECT * FROM {table}").all())
            assert found != "[]"
            assert not any(secret in found for secret in secrets)
    assert "did not take" in caplog.text
    assert not any(secret in caplog.text for secret in secrets)


@pytest.mark.full
def test_the_end_of_a_study_is_told_once_and_signed_and_tried_again(told: Running, receiver: Receiver) -> None:
    receiver.status = 500
    told.finished()
    deliver(told)
    receiver.status = 204
    told.move_clock(21)
    deliver(told)
    deliver(told)
    assert receiver.types() == ["study.completed"] * 2
    (first, body), (again, same) = receiver.taken
    assert body == same
    assert first["webhook-id"] == again["webhook-id"]
    signed = f"{again['webhook-id']}.{again['webhook-timestamp']}.".encode() + same
    wanted = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    assert again["webhook-signature"] == f"v1,{wanted}"
    assert json.loads(body)["data"]["study"] == told.study()
    assert told.client.delete("/v1/studies/s1").status_code == 204
    with told.core.database.reading() as session:
        assert session.scalars(sqlalchemy.select(StudyDeliveryRow)).all() == []


def test_a_study_tells_of_the_ends_that_its_spec_names(told: Running, receiver: Receiver) -> None:
    told.create("quiet", notify=["failed"])
    told.client.post("/v1/studies/quiet/cancel")
    told.create("bad", notify=["failed"])
    worker = told.worker()
    inspection = worker.claim()
    assert inspection is not None
    worker.finish(inspection, "failed", reason="bad_data", problem={"message": "It is gone."})
    told.create("loud")
    told.client.post("/v1/studies/loud/cancel")
    deliver(told)
    assert receiver.types() == ["study.failed", "study.cancelled"]
    assert "It is gone." in json.loads(receiver.taken[0][1])["data"]["study"]["error"]
    assert told.client.post("/v1/studies", json=spec("s2", notify=["finished"])).status_code == 422


@pytest.mark.full
def test_one_that_answers_without_end_is_left(
    house: Running, monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_SECONDS", 0.5)
    given_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not given_up.wait(0.1):
                    connection.sendall(b"X: x\r\n")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        hook = webhook.Webhook(f"http://127.0.0.1:{server.getsockname()[1]}/hook-1234", None)
        it = Nightly(house, house.worker())
        it.run("a")
        with house.core.database.transaction() as session:
            session.add(DeliveryRow(schedule_id=1, event="finished", body="{}", next_at=0.0, created_at=0.0))
        hook.deliver(house.core.database)
        given_up.set()
        dripping.join()
    with house.core.database.reading() as session:
        row = session.scalars(sqlalchemy.select(DeliveryRow)).one()
    assert row.error == "It did not answer within 0.5 seconds."
    assert row.next_at is not None


@pytest.mark.full
def test_without_a_webhook_nothing_is_queued(house: Running) -> None:
    it = Nightly(house, house.worker())
    it.run("a")
    house.finished()
    with house.core.database.reading() as session:
        assert session.scalars(sqlalchemy.select(DeliveryRow)).all() == []
        assert session.scalars(sqlalchemy.select(StudyDeliveryRow)).all() == []


@pytest.mark.parametrize("url", ["ftp://example.org", "example.org/hook", "http://", "http://host:abc/x", "http://[/x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="http or https URL"):
        Settings(webhook_url=SecretStr(url))
