"""An error of one study in a round of the reaper stays with that study."""

import pytest

from luthier.service.dispatch import reaper
from tests.support.harness import Running, ScriptedWorker

pytestmark = pytest.mark.locks


def test_an_error_of_one_study_keeps_no_other_from_its_end(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house.started(worker, "sick")
    house.client.post("/v1/studies/sick/pause")
    house.started(worker, "well", budget={"wall_clock_seconds": 60})
    worker.train(worker.take())
    settle = reaper.transitions.settle

    def broken(session: object, leases: object, study: object) -> object:
        if study.name == "sick":  # type: ignore[attr-defined]
            raise TypeError("its row is damaged")
        return settle(session, leases, study)  # type: ignore[arg-type]

    monkeypatch.setattr(reaper.transitions, "settle", broken)
    house.move_clock(100.0)
    house.reap()
    house.reap()
    assert house.study("well")["message"] == "The 60 seconds of wall-clock time are used up."
    assert "its row is damaged" in house.study("sick")["warnings"][0]
    assert len([record for record in caplog.records if "its row is damaged" in record.getMessage()]) == 1
    monkeypatch.setattr(reaper.transitions, "settle", settle)
    house.reap()
    assert house.study("sick")["warnings"] == []
