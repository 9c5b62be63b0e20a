"""A child leaks, hangs in C, or ignores signals."""

import signal
import time

from tests.faults.arena import Arena
from tests.faults.kinds.registry import fault
from tests.faults.service import LEASE_SECONDS

PATIENCE_SECONDS = 60.0


def mischief(arena: Arena, kind: str, told: str) -> int:
    """Have some child do wrong, and return its process's id once it has begun."""
    part = arena.mischief / f".{kind}.part"
    part.write_text(told)
    part.rename(arena.mischief / kind)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (arena.mischief / kind).exists():
        arena.busy()
        assert time.monotonic() < deadline, f"no child came to do: {kind}"
        time.sleep(0.02)
    (taken,) = arena.mischief.glob(f"{kind}.taken-*")
    pid = int(taken.name.rpartition("-")[2])
    taken.unlink(missing_ok=True)
    return pid


@fault("a child leaks", workers=("parents",))
def leak(arena: Arena) -> None:
    """It keeps 300 MB after its trial: its worker replaces it."""
    mischief(arena, "leak", "")


@fault("a child hangs in C", workers=("parents",))
def hang(arena: Arena) -> None:
    """For longer than a lease, with Python's lock: its worker keeps the lease."""
    mischief(arena, "hang", str(LEASE_SECONDS + arena.chance.uniform(0.5, 2)))


@fault("a child hangs for ever and ignores SIGTERM", workers=("parents",))
def stubborn(arena: Arena) -> None:
    """Its worker is asked to end: it gives the trial back, and nothing is left of the child."""
    pid = mischief(arena, "stubborn", "")
    worker = next((one for one in arena.workers if pid in one.children()), None)
    if worker is not None:
        worker.kill(signal.SIGTERM)
        arena.dismiss(worker)
