"""A worker whose disk fills: its child waits, its lease is renewed, and the trial ends as if nothing had been."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.studies.protocol import Checkpoint
from tests.support.scripted import Service
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.worker_processes import Starts


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 4) as disk:
        yield disk


@pytest.fixture
def service(disk: SmallDisk) -> Iterator[Service]:
    """A service whose store lies on the small disk."""
    script = Service(disk.folder / "store")
    yield script
    script.close()


@pytest.mark.full
@pytest.mark.parametrize("limit", [None, pytest.param(1.0, marks=pytest.mark.full)])
def test_a_full_disk_costs_a_trial_nothing(
    service: Service, start: Starts, disk: SmallDisk, limit: float | None
) -> None:
    """The time of waiting is no time of training: a trial of three seconds meets its limit of one."""
    service.lease_seconds = 0.6
    service.assign(1, shared=True, params={"steps": 2}, spec={"budget": {"trials": 1, "trial_seconds": limit}})
    (service.store / "a1").mkdir()
    disk.fill()
    start(PATIENT="yes")
    service.wait(lambda s: "waits for room" in s.log(1))
    renewals = [route for route, _ in service.said].count("renew")
    service.wait(lambda s: [route for route, _ in s.said].count("renew") >= renewals + 8)
    assert not service.reports(1)
    disk.free()
    outcome = service.outcome(1)
    assert outcome.status == "complete"
    assert [report.step for report in service.reports(1)] == [1, 2]


def test_a_disk_without_room_for_the_checkpoint_gives_the_trial_back(
    service: Service, start: Starts, disk: SmallDisk, tmp_path: Path
) -> None:
    service.store = tmp_path / "store"  # on a disk with room, as on another machine
    start(LUTHIER_HOME=str(disk.folder))
    service.wait(lambda s: s.said)
    disk.fill()
    resume = service.keep(1, "resume", b"x" * 2**20)
    service.assign(1, attempt=2, params={"steps": 1}, checkpoint=Checkpoint(step=1, resume=resume))
    outcome = service.outcome(1)
    assert outcome.status == "released"
    assert outcome.problem is not None
    assert f"the disk of {disk.folder}, with " in outcome.problem.message
    service.wait(lambda s: [route for route, _ in s.said].count("claim") > 1)
