"""Presence: who counts as there, waiting or away, on each database, with a moved clock."""

from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from luthier.service.storage.database import Database
from luthier.service.storage.presence import (
    CONNECTED_SECONDS,
    SERVICE_SECONDS,
    WAITING_SECONDS,
    Presence,
)
from luthier.service.storage.service_tables import WorkerRow
from luthier.studies.protocol import Claim, Gpu

pytestmark = pytest.mark.locks

SECOND = 1.0  # for the test itself


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


def test_thresholds_follow_the_lease(database: Database) -> None:
    default, short = Presence(database, 30.0), Presence(database, 3.0)
    assert (default.away_seconds, default.absence_seconds) == (90.0, 15.0)
    assert (short.away_seconds, short.absence_seconds) == (63.0, 5.0)


def test_a_worker_whose_claim_waits_is_connected() -> None:
    assert Claim(worker="w1", wait_seconds=CONNECTED_SECONDS)
    with pytest.raises(ValidationError):
        Claim(worker="w1", wait_seconds=CONNECTED_SECONDS + 1)


def test_a_worker_waits_then_is_connected_then_present_then_away(database: Database) -> None:
    presence = Presence(database, 30.0)
    claim = Claim(worker="w1", device="a GPU", gpu=Gpu(id="GPU-a", total_bytes=2**40))

    def state() -> tuple[bool, bool, bool]:
        with database.reading() as session:
            workers = select(WorkerRow.name)
            return (
                session.scalar(workers.where(presence.is_waiting())) is not None,
                presence.any_worker(session),
                session.scalar(workers.where(presence.is_present())) is not None,
            )

    assert state() == (False, False, False)
    with database.transaction() as session:
        presence.record_claim(session, claim)
    assert state() == (True, True, True)
    database.clock_offset = WAITING_SECONDS
    assert state() == (False, True, True)
    database.clock_offset = CONNECTED_SECONDS - SECOND
    assert state() == (False, True, True)
    database.clock_offset = CONNECTED_SECONDS
    assert state() == (False, False, True)
    database.clock_offset = presence.away_seconds - SECOND
    assert state() == (False, False, True)
    database.clock_offset = presence.away_seconds
    assert state() == (False, False, False)

    with database.transaction() as session:
        presence.record_claim(session, claim.model_copy(update={"device": "another", "gpu": None}))
        row = session.scalars(select(WorkerRow)).one()
    assert (row.device, row.gpu, row.gpu_bytes) == ("another", None, None)
    assert state() == (True, True, True)
    database.dispose()


def test_a_service_is_alone_once_the_others_left_or_are_silent(database: Database) -> None:
    presence = Presence(database, 30.0)

    def is_alone(service: str) -> bool:
        with database.transaction() as session:
            return presence.report_service(session, service)

    assert is_alone("a")
    assert not is_alone("b")
    assert not is_alone("a")
    with database.transaction() as session:
        presence.remove_service(session, "b")
    assert is_alone("a")
    assert not is_alone("c")
    database.clock_offset = SERVICE_SECONDS - SECOND
    assert not is_alone("a")
    database.clock_offset = SERVICE_SECONDS + SECOND
    assert is_alone("a")
    database.dispose()
