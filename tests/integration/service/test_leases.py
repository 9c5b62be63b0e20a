"""Leases on each database, and how the work that comes before trials is handed out."""

import threading
import time
from collections.abc import Callable

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.harness import Running, ScriptedWorker, spec
from tests.support.lease_contract import LeaseContract
from tests.support.waiting import until

pytestmark = pytest.mark.locks


class TestLeasesOnSqlite(LeaseContract):
    """An SQLite file."""

    @pytest.fixture
    def database_url(self, sqlite_url: str) -> str:
        return sqlite_url


class TestLeasesOnPostgres(LeaseContract):
    """A Postgres server."""

    @pytest.fixture
    def database_url(self, postgres_url: Callable[[], str]) -> str:
        return postgres_url()


def test_an_inspection_that_finds_bad_data_fails_the_study(house: Running, worker: ScriptedWorker) -> None:
    house.create()
    sentence = "data/sms.csv: row 7 has no label; add one or take the row out\x00"
    a = worker.take(AssignmentKind.INSPECT)
    worker.finish(a, "failed", reason="bad_data", problem={"message": sentence, "path": ["dataset", "source"]})
    study = house.study()
    assert study["state"] == "failed"
    assert "row 7 has no label" in study["error"]
    assert worker.claim() is None


def test_a_depth_below_the_model_fails_the_study(house: Running, worker: ScriptedWorker) -> None:
    house.create(space={"learning_rate": [1e-4, 1e-3], "freeze_depth": {"low": 0, "high": 9}})
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    study = house.study()
    assert study["state"] == "failed"
    assert "space.freeze_depth.high" in study["error"]
    assert "6 blocks" in study["error"]
    assert house.client.delete("/v1/studies/s1").status_code == 204


def test_a_waiting_claim_wakes_when_work_appears(house: Running, worker: ScriptedWorker) -> None:
    found: list[Assignment | None] = []
    waiting = threading.Thread(target=lambda: found.append(worker.claim(wait_seconds=20)))
    waiting.start()
    until(lambda: house.get("/v1/workers")["items"])
    house.client.post("/v1/studies", json=spec())
    waiting.join(10)  # half of the time that it would wait without being woken
    assert found
    assert found[0] is not None
    assert found[0].kind is AssignmentKind.INSPECT


def test_a_waiting_claim_answers_when_its_time_is_up(house: Running, worker: ScriptedWorker) -> None:
    started = time.monotonic()
    assert worker.claim(wait_seconds=0.2) is None
    assert time.monotonic() - started >= 0.2
