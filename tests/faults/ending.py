"""The end of a round: all studies come to theirs in time, everything is ended, and the invariants are looked at."""

import contextlib
import os
import time
from pathlib import Path

from tests.faults import evidence, invariants
from tests.faults.arena import ENDED, PATIENCE_SECONDS, Arena
from tests.faults.evidence import Evidence
from tests.faults.service import LEASE_SECONDS

# An undisturbed study takes about half as long on two idle cores, by kind of workers.
UNDISTURBED_SECONDS = {"scripted": 10.0, "parents": 15.0, "real": 60.0}
ALLOWANCE_SECONDS = (
    10.0  # beyond that and two leases: a dead worker's, and the one in which nobody loses any after a start
)
LEFT_SECONDS = 5.0  # in which the last processes end


def run_to_the_end(arena: Arena) -> None:
    """Wait for the end of every study, end everything, and look at every invariant."""
    late = wait(arena)
    if not late:
        arena.told_of_ends(arena.studies)
    arena.close()
    arena.violations += invariants.violations(gathered(arena, late))


def wait(arena: Arena) -> list[str]:
    """Wait until all studies have ended, and return the sentence for one that took too long."""
    began, machine = time.monotonic(), Slowness()
    open_studies = [name for name in arena.studies if arena.state(name) not in ENDED]
    ideal = UNDISTURBED_SECONDS[arena.setting.workers] * len(open_studies)
    for name in open_studies:
        while arena.state(name) not in ENDED:
            if time.monotonic() - began > machine.factor() * (ideal + PATIENCE_SECONDS):
                return [f"{name} is still {arena.state(name)} {time.monotonic() - began:.0f} s after the last fault"]
            arena.holding.look()
            arena.mend()
            machine.look()
    took, allowed = time.monotonic() - began, machine.factor() * (ideal + ALLOWANCE_SECONDS) + 2 * LEASE_SECONDS
    return [f"the end came {took:.1f} s after the last fault, {allowed:.1f} s are allowed"] if took > allowed else []


class Slowness:
    """How much longer than on an idle core a computation takes on this machine just now."""

    def __init__(self) -> None:
        self._wall, self._busy = 0.0, 1e-9

    def look(self) -> None:
        """Compute for some milliseconds, then rest for ten times as long."""
        wall, busy = time.monotonic(), time.thread_time()
        while time.thread_time() - busy < 0.005:
            pass
        self._wall += time.monotonic() - wall
        self._busy += time.thread_time() - busy
        time.sleep(0.05)

    def factor(self) -> float:
        """Return seconds that pass for a second of computing; at least 1."""
        return max(1.0, self._wall / self._busy)


def gathered(arena: Arena, late: list[str]) -> Evidence:
    """Sweep the store, and read what the round has left."""
    evidence.sweep(arena.home, arena.store, arena.database)
    left = _left(arena.mark)
    return evidence.from_database(
        arena.database,
        store=arena.store,
        entries=evidence.journals(arena.journals, arena.journals_since),
        logs=evidence.logs(arena.folder, arena.journals),
        left=left,
        late=late,
        held=arena.holding.violations,
        trials=arena.setting.trials,
        parallel=arena.setting.parallel,
        excused=frozenset(arena.excused),
        may_lack=arena.may_lack,
        cancelled=frozenset(arena.cancelled),
        excused_errors=frozenset(arena.excused_errors),
        cut_files=frozenset(arena.cut_files),
        uses_gpus=arena.uses_gpus and arena.setting.workers == "scripted",
    )


def _left(mark: str) -> list[str]:
    """Return the processes that hold a mark in their environment, after a moment in which they may end."""
    deadline = time.monotonic() + LEFT_SECONDS
    while (found := _processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _processes(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                command = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(f"{path.parent.name} {command}")
    return found
