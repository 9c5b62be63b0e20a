"""The database's clock is set."""

import time

from tests.faults import clocks
from tests.faults.arena import Arena
from tests.faults.kinds.registry import fault

HOUR = 3600.0


def jump(arena: Arena, seconds: float) -> None:
    """Set the clock of every service's database."""
    with arena.disturbed():
        clocks.move(arena.home, seconds)
        time.sleep(0.8)  # until each reaper has looked


@fault("the clock goes on by hours")
def ahead(arena: Arena) -> None:
    """As after a suspended machine."""
    jump(arena, arena.chance.uniform(0.5, 3) * HOUR)


@fault("the clock goes on by a lease or two")
def a_little_ahead(arena: Arena) -> None:
    """As by a correction."""
    jump(arena, arena.chance.uniform(2, 6))


@fault("the clock goes back by hours")
def back(arena: Arena) -> None:
    """As after a wrong time zone."""
    jump(arena, -arena.chance.uniform(0.5, 3) * HOUR)
