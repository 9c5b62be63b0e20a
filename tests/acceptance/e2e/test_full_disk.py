"""The disk of the home, with the database, the store and the logs, fills while a study runs."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.served import Served, spec
from tests.support.small_disk import small_disk
from tests.support.waiting import until

LEASE = 3.0  # seconds, as `environment` sets it


@pytest.mark.parametrize("elsewhere", [False, pytest.param(True, marks=pytest.mark.wide)])
def test_a_full_disk_costs_no_trial(serve: Callable[..., Served], tiny: Path, tmp_path: Path, elsewhere: bool) -> None:
    """With `elsewhere` the database lies on another disk: then messages arrive, but no file can be written."""
    changed = spec(tiny, "full", budget={"trials": 4})
    changed["space"] |= {"batch_size": 4, "freeze_depth": [0, 1]}
    other = {"LUTHIER_DATABASE_URL": f"sqlite:///{tmp_path / 'other.db'}"} if elsewhere else {}
    with small_disk(tmp_path / "disk", 64) as disk:
        served = serve("disk/home", **other)
        served.client.post("/v1/studies", json=changed).raise_for_status()
        until(lambda: served.trials("full") and served.trials("full")[0]["values"], 60)
        disk.fill()
        until(lambda: served.client.get("/readyz").json().get("disk") == "full")
        time.sleep(3.5 * LEASE)
        (warning,) = served.study("full")["warnings"]
        assert str(disk.folder) in warning
        assert served.study("full")["counts"]["failed"] == 0
        disk.free()
        study = served.ended("full")
        assert study["state"] == "completed"
        assert study["counts"]["complete"] == 4
        assert study["model"] is not None
        assert "luthier_lost_leases_total 0.0" in served.client.get("/metrics").text
        served.kill(15)
