"""Queued work of one study that cannot be handed out stays queued, and keeps no other study's work from workers."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from luthier.service.dispatch import queued_claims, search_faults
from tests.support.harness import Running, ScriptedWorker
from tests.support.tiers import a_few

pytestmark = pytest.mark.both_databases


@pytest.mark.full
def test_others_go_on_and_so_does_it_once_it_can(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house.started(worker, "sick", budget={"trials": 2})
    house.started(worker, "well", budget={"trials": 2})
    worker.finish(worker.take(), "released")
    make = queued_claims.assignment_message

    def broken(session: Any, core: Any, study: Any, row: Any, payload: Any) -> Any:
        if study.name == "sick":
            raise LookupError("the winner's trial is gone")
        return make(session, core, study, row, payload)

    monkeypatch.setattr(queued_claims, "assignment_message", broken)
    monkeypatch.setattr(search_faults, "FIRST_PAUSE", 0.0)
    for _ in range(2):
        a = worker.take()
        assert a.study == "well"
        worker.work(a)
    sick = house.study("sick")
    assert sick["warnings"] == [
        "Its queued work cannot be handed out now: LookupError: the winner's trial is gone. The service tries again."
    ]
    assert [trial["state"] for trial in house.trials("sick")] == ["queued"]
    assert len([record for record in caplog.records if "study sick" in record.getMessage()]) == 1

    monkeypatch.setattr(queued_claims, "assignment_message", make)
    house.core.searches.faults.wake()
    worker.drain()
    assert house.study("sick")["state"] == "completed"
    assert house.study("sick")["warnings"] == []
    assert [trial["state"] for trial in house.trials("sick")] == ["complete"] * 2


@pytest.mark.parametrize("columns", a_few(1, ["spec = '{}'", "inspection = '{\"a\": 1}'"]))
def test_what_cannot_be_read_hides_nothing_behind_it(house: Running, worker: ScriptedWorker, columns: str) -> None:
    house.started(worker, "sick", budget={"trials": 60})
    assert house.client.post("/v1/studies/sick/pause").status_code == 200
    for i in range(1, 25):  # more than a claim looks at
        own = {"learning_rate": i * 1e-5, "batch_size": 8, "epochs": 1, "freeze_depth": 0}
        assert house.client.post("/v1/studies/sick/trials", json={"params": own}).status_code == 201
    house.started(worker, "well", budget={"trials": 2})
    worker.finish(worker.take(), "released")
    assert house.client.post("/v1/studies/sick/resume").status_code == 200
    with house.core.database.engine.begin() as connection:
        connection.execute(text(f"UPDATE luthier_study SET {columns} WHERE name = 'sick'"))
    assert worker.take().study == "well"


@pytest.mark.full
def test_a_waiting_claim_gets_work_beside_a_study_that_cannot_be_read(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, "sick", budget={"trials": 60})
    with house.core.database.engine.begin() as connection:
        connection.execute(text("UPDATE luthier_study SET spec = '{}' WHERE name = 'sick'"))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(worker.claim, 20.0)
        time.sleep(1.5)
        house.create("well")
        found = waiting.result()
    assert found is not None
    assert found.study == "well"
