"""Queued work of one study that cannot be handed out stays queued, and keeps no other study's work from workers."""

from typing import Any

import pytest

from luthier.service.dispatch import claims, search_faults
from tests.support.harness import Running, ScriptedWorker

pytestmark = pytest.mark.both_databases


def test_others_go_on_and_so_does_it_once_it_can(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house.started(worker, "sick", budget={"trials": 2})
    house.started(worker, "well", budget={"trials": 2})
    worker.finish(worker.take(), "released")
    make = claims.assignment_message

    def broken(session: Any, core: Any, study: Any, row: Any, payload: Any) -> Any:
        if study.name == "sick":
            raise LookupError("the winner's trial is gone")
        return make(session, core, study, row, payload)

    monkeypatch.setattr(claims, "assignment_message", broken)
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

    monkeypatch.setattr(claims, "assignment_message", make)
    house.core.searches.faults.wake()
    worker.drain()
    assert house.study("sick")["state"] == "completed"
    assert house.study("sick")["warnings"] == []
    assert [trial["state"] for trial in house.trials("sick")] == ["complete"] * 2
