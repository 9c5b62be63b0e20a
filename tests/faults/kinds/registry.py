"""The list of faults: each is a function with a name, the settings it suits, and what it needs of the machine."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.mounts import may_mount
from tests.faults.setting import Setting

ALL_WORKERS = ("scripted", "parents", "real")
PROGRAMS = ("parents", "real")  # real workers with child processes
Inject = Callable[[Arena], None]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: what happens.
        inject: does it to an arena in which a trial runs, and puts right what it broke.
        database: sqlite or postgres, where only one can break so.
        workers: the kinds of workers it can happen to.
        services: the numbers of services it can happen to.
        lack: says what this machine lacks for it; None where it lacks nothing.
        weight: how often it happens, beside others.
    """

    name: str
    inject: Inject
    database: str | None
    workers: tuple[str, ...]
    services: tuple[int, ...]
    lack: Callable[[], str | None]
    weight: int = 2

    def suits(self, setting: Setting) -> bool:
        """Return whether it can happen in a round."""
        return (
            self.database in (None, setting.database)
            and setting.workers in self.workers
            and setting.services in self.services
        )


FAULTS: list[Fault] = []


def nothing() -> None:
    """Say that the machine lacks nothing."""
    return


def root() -> str | None:
    """Say that this user may not mount disks."""
    return None if may_mount() else "this user may not mount a disk"


def fault(
    name: str,
    *,
    database: str | None = None,
    workers: tuple[str, ...] = ("scripted", "parents"),
    services: tuple[int, ...] = (1, 2),
    lack: Callable[[], str | None] = nothing,
    weight: int = 2,
) -> Callable[[Inject], Inject]:
    """Add a function to the list of faults."""

    def add(inject: Inject) -> Inject:
        FAULTS.append(Fault(name, inject, database, workers, services, lack, weight))
        return inject

    return add


def memory_cgroup() -> Path | None:
    """Return the folder in which groups with a limit of memory can be made, where there is one."""
    for folder in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        limits = list(folder.glob("memory.limit_in_bytes")) or list(folder.glob("memory.max"))
        if (limits or (folder / "cgroup.subtree_control").exists()) and os.access(folder, os.W_OK):
            return folder
    return None
