"""The limits of a child process: how much memory it may hold, and how much it may write.

The worker reads them from its settings and has each child confined. Memory is bounded by a control group where this
user may make one, so that the kernel ends the child alone; else by the limit on a process's data (RLIMIT_DATA), under
which an allocation fails. See decision 0094.
"""

import contextlib
import logging
import os
import resource
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from luthier.studies.sizes import LEAST_TRIAL_DISK, LEAST_TRIAL_MEMORY, size_of, told
from luthier.trials.worker.memory_groups import MemoryGroup

log = logging.getLogger(__name__)

MEMORY, DISK = "LUTHIER_TRIAL_MEMORY", "LUTHIER_TRIAL_DISK"


class WrongLimit(Exception):
    """A setting is no size. The text is a sentence with the cure."""


@dataclass(frozen=True)
class ChildLimits:
    """The limits of each child of a worker; None: no limit.

    Attributes:
        memory: Bytes that it may hold, all that it starts included.
        disk: Bytes that a trial's files may take at the same time.
        has_gpu: Whether it computes on a GPU, whose driver reserves far more address space than memory.
    """

    memory: int | None = None
    disk: int | None = None
    has_gpu: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str], has_gpu: bool) -> "ChildLimits":
        """Return the limits that the environment sets. Raises WrongLimit."""
        sizes: dict[str, int | None] = {}
        for name, least in ((MEMORY, LEAST_TRIAL_MEMORY), (DISK, LEAST_TRIAL_DISK)):
            text = environment.get(name, "").strip()
            try:
                sizes[name] = size_of(text) if text else None
            except ValueError as error:
                raise WrongLimit(f"{name} {error}.") from None
            if (size := sizes[name]) is not None and size < least:
                raise WrongLimit(f"{name} is {told(size)}; no trial can do with less than {told(least)}.")
        return cls(sizes[MEMORY], sizes[DISK], has_gpu)

    def confine(self, pid: int) -> "Confinement":
        """Bound a process that has just been started, and return what bounds it."""
        if self.disk is not None:
            _set_limit(pid, resource.RLIMIT_FSIZE, self.disk)
        if self.memory is None:
            return Confinement()
        group = MemoryGroup.create(self.memory)
        if group is not None:
            try:
                group.add(pid)
                return Confinement(self.memory, group)
            except OSError:
                group.remove()
        if not self.has_gpu:
            _set_limit(pid, resource.RLIMIT_DATA, self.memory)
        return Confinement(self.memory)

    def is_watched(self, confinement: "Confinement") -> bool:
        """Return whether the worker itself must look how much memory a child holds: nothing else bounds it."""
        return confinement.limit is not None and confinement.group is None and self.has_gpu


class Confinement:
    """What bounds the memory of one child.

    Attributes:
        limit: In bytes; None: nothing bounds it.
        group: Its control group; None: it has none.
    """

    def __init__(self, limit: int | None = None, group: MemoryGroup | None = None) -> None:
        self.limit = limit
        self.group = group
        self.was_seen_above = False  # by the worker, which has killed it

    def why_ended(self, code: int | None) -> str | None:
        """Return a sentence where a child that has ended with this code needed too much memory; else None."""
        if self.limit is None:
            return None
        needed = f"It needed more memory than {MEMORY} = {told(self.limit)}"
        if self.was_seen_above:
            return f"{needed}, and was ended by its worker."
        if self.group is not None and code == -signal.SIGKILL and self.group.kills():
            return f"{needed}, and was ended by the kernel."
        if self.group is None and code == -signal.SIGABRT:  # a library that cannot go on without memory
            return f"{needed}, and ended itself when it got no more."
        return None

    def close(self) -> None:
        """Remove the group; all of its processes have been killed."""
        if self.group is not None:
            self.group.remove()


def held_bytes(group: int) -> int:
    """Return the memory that the processes of a process group hold, without the files that are mapped into it."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[2]) == group:
                _, resident, shared, *_ = (entry / "statm").read_text().split()
                total += (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return total


def _set_limit(pid: int, kind: int, size: int) -> None:
    """Lower a limit of another process; one that is lower already stays."""
    try:
        _, most = resource.prlimit(pid, kind)
        size = size if most == resource.RLIM_INFINITY else min(size, most)
        resource.prlimit(pid, kind, (size, size))
    except ProcessLookupError:  # it has just ended
        pass
    except OSError as error:
        log.warning("The process that trains is not limited to %s: %s.", told(size), error.strerror)
