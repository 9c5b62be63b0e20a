"""A service comes to every named place between a commit and what follows it, and dies there."""

import random
import time
from pathlib import Path

import pytest

from tests.faults import points
from tests.faults.arena import Arena
from tests.faults.ending import run_to_the_end
from tests.faults.kinds.registry import FAULTS
from tests.faults.setting import Setting
from tests.faults.templates import Templates


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_service_dies_at_every_point(templates: Templates, tmp_path: Path) -> None:
    """Each trap is stepped into once, and the process that did so ends by SIGKILL at that moment."""
    arena = Arena(templates, tmp_path, Setting("sqlite"), random.Random(1))
    try:
        arena.start()
        for point in points.POINTS:
            arena.busy()
            (service,) = arena.services
            points.set_trap(arena.home, point)
            if point.act == "create":
                arena.create()
            elif point.act == "cancel":
                arena.cancel()
            deadline = time.monotonic() + 90
            while (arena.home / points.TRAP).exists():
                assert time.monotonic() < deadline, f"no service came to: {point.name}"
                arena.busy()
            arena.answered()
            if point.act == "cancel":
                arena.told_of_ends(arena.cancelled)
            assert service.deaths[-1:] == [-9], point.name
            service.deaths.clear()
        run_to_the_end(arena)
        assert arena.violations == []
    finally:
        arena.close()
        arena.clear()


def test_every_point_is_a_fault_and_a_place_in_the_code() -> None:
    names = {fault.name for fault in FAULTS}
    assert {f"killed: {point.name}" for point in points.POINTS} <= names
    for point in points.POINTS:
        assert callable(getattr(point.owner, point.function)), point.name
