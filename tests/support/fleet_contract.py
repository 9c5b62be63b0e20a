"""What must hold of every fleet: a test class that a new fleet only subclasses.

A subclass overrides the fixture `make_fleet`; the fixture `service` is the scripted service of the workers' tests.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from luthier.studies.protocol import SECRET_SETTINGS
from tests.support.scripted import TOKEN, Service
from tests.support.waiting import gone, until


class Fleet(Protocol):
    """A supplier of workers for one service."""

    @property
    def pids(self) -> list[int]:
        """The processes of the workers that run now."""

    @property
    def problem(self) -> str | None:
        """A sentence when no worker stays up; None while one does."""

    def start(self) -> None:
        """Start two workers."""

    def stop(self, timeout_seconds: float) -> None:
        """End all workers: they give their trials back, and after the timeout they are killed."""


MakeFleet = Callable[[str], Fleet]
"""make_fleet(token): a fleet of two workers for `service`, which pauses only briefly between tries."""


class FleetContract:
    """Workers join, are replaced, say why they do not stay, and are gone after `stop`."""

    @pytest.fixture
    def make_fleet(self, service: Service, tmp_path: Path) -> MakeFleet:
        raise NotImplementedError

    def test_a_worker_that_dies_is_started_again(self, service: Service, make_fleet: MakeFleet) -> None:
        fleet = make_fleet(TOKEN)
        fleet.start()
        try:
            service.wait(lambda s: len({claim.worker for _, claim in s.said}) == 2)
            first = fleet.pids
            assert len(first) == 2
            os.kill(first[0], 9)
            service.wait(lambda s: len(s.said) == 3)
            until(lambda: len(fleet.pids) == 2)
            assert first[0] not in fleet.pids
            assert first[1] in fleet.pids
            assert fleet.problem is None
        finally:
            last = fleet.pids
            fleet.stop(5)
        assert fleet.pids == []
        assert all(gone(pid) for pid in [*first, *last])

    def test_workers_get_no_secret_but_their_token(
        self, service: Service, make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in SECRET_SETTINGS:
            monkeypatch.setenv(name, "of the service")
        fleet = make_fleet(TOKEN)
        fleet.start()
        try:
            service.wait(lambda s: len(s.said) == 2)
            for pid in fleet.pids:
                environment = Path(f"/proc/{pid}/environ").read_bytes()
                assert b"of the service" not in environment
                assert TOKEN.encode() in environment
                assert TOKEN.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        finally:
            fleet.stop(5)

    def test_workers_that_never_stay_up_are_told_of(self, make_fleet: MakeFleet) -> None:
        fleet = make_fleet("not the token")
        assert fleet.problem is None
        fleet.start()
        try:
            until(lambda: fleet.problem)
            assert "LUTHIER_WORKER_TOKEN" in str(fleet.problem)
        finally:
            fleet.stop(5)
