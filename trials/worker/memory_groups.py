"""Control groups of Linux, which bound the memory of a child process and of all that it starts.

`child_limits.py` makes one for each child, where this user may. The kernel ends what needs more, and nothing else. A
group outlives its worker only where that was killed; the next worker on the machine then removes it.
"""

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
OWN = Path("/proc/self/cgroup")
NAME = re.compile(r"luthier-([0-9]+)-([0-9]+)-([0-9]+)-[0-9]+", re.ASCII)  # namespace of pids, pid, its start, a number
REMOVAL_SECONDS = 2.0  # that a killed process may take until it has left its group
PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Hierarchy:
    """The files of one version of control groups.

    Attributes:
        limits: File and content, in the order of writing, for a limit; None stands for the limit's bytes.
        needed: The file without which a group bounds nothing.
        kills: The file that counts the processes that the kernel ended for want of memory, in a line `oom_kill N`.
    """

    limits: tuple[tuple[str, str | None], ...]
    needed: str
    kills: str


V1 = Hierarchy(
    (("memory.limit_in_bytes", None), ("memory.memsw.limit_in_bytes", None)),
    "memory.limit_in_bytes",
    "memory.oom_control",
)
V2 = Hierarchy(
    (("memory.max", None), ("memory.swap.max", "0"), ("memory.oom.group", "1")), "memory.max", "memory.events"
)


class MemoryGroup:
    """A group with a limit. `create` makes one; `add` puts a process into it, and `remove` ends the group."""

    _made = 0  # by this process

    def __init__(self, folder: Path, hierarchy: Hierarchy) -> None:
        self.folder = folder
        self._hierarchy = hierarchy

    @classmethod
    def create(cls, limit: int) -> "MemoryGroup | None":
        """Make a group with a limit in bytes; None where this user may not, or the kernel has no such groups."""
        for parent, hierarchy in _parents():
            cls._made += 1
            group = cls(
                parent / f"luthier-{_pid_namespace()}-{os.getpid()}-{_start(os.getpid())}-{cls._made}", hierarchy
            )
            with contextlib.suppress(OSError):
                group.folder.mkdir()
                try:
                    group._set(limit)
                    return group
                except OSError:
                    group.remove()
        return None

    def _set(self, limit: int) -> None:
        """Write the limit. Raises OSError where the group cannot have one."""
        if not (self.folder / self._hierarchy.needed).exists():  # version 2: the parent has not given it to its groups
            (self.folder.parent / "cgroup.subtree_control").write_text("+memory")
        for file, content in self._hierarchy.limits:
            try:
                (self.folder / file).write_text(str(limit) if content is None else content)
            except OSError:
                if file == self._hierarchy.needed:
                    raise  # the others are missing where swap is not counted, or on older kernels

    def add(self, pid: int) -> None:
        """Put a process into the group; what it starts from now on is in it too. Raises OSError."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def kills(self) -> int:
        """Return how many processes of the group the kernel has ended for want of memory."""
        with contextlib.suppress(OSError, ValueError):
            lines = (self.folder / self._hierarchy.kills).read_text(encoding="ascii").splitlines()
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
        return 0

    def remove(self) -> None:
        """End what is in the group, and the group, if it is there."""
        until = time.monotonic() + REMOVAL_SECONDS
        with contextlib.suppress(FileNotFoundError):
            while True:
                try:
                    self.folder.rmdir()
                    return
                except OSError:
                    if not self.folder.exists() or time.monotonic() > until:
                        return
                for pid in (self.folder / "cgroup.procs").read_text(encoding="ascii").split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                time.sleep(PAUSE_SECONDS)


def sweep_groups() -> None:
    """Remove the groups of workers that are gone, with all that still runs in them."""
    for parent, hierarchy in _parents():
        with contextlib.suppress(OSError):
            for folder in parent.iterdir():
                match = NAME.fullmatch(folder.name)
                if match is None or int(match[1]) != _pid_namespace():
                    continue
                if _start(int(match[2])) != int(match[3]):
                    MemoryGroup(folder, hierarchy).remove()


def _parents(own: Path = OWN, mounts: Path = MOUNTS) -> Iterator[tuple[Path, Hierarchy]]:
    """Yield the folders in which a group may be made: that of this process, and in version 2 also the one above.

    There a group with processes of its own has no groups below it; a service that systemd runs with Delegate=yes and
    DelegateSubgroup=, say, is in a group of its own below the one that it was given.
    """
    with contextlib.suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                yield from ((folder, V1) for folder in _mounted(path, "cgroup", "memory", mounts)[:1])
            elif not controllers:
                yield from ((folder, V2) for folder in _mounted(path, "cgroup2", "", mounts))


def _mounted(path: str, kind: str, option: str, mounts: Path) -> list[Path]:
    """Return the folders of a group and of the one above it, as far as they are mounted."""
    for line in mounts.read_text(encoding="utf-8").splitlines():
        fields, _, rest = line.partition(" - ")
        root, mount = fields.split()[3:5]
        mounted_kind, _, options = rest.split(" ", 2)
        if mounted_kind != kind or (option and option not in options.split(",")):
            continue
        top = Path(mount)
        inside = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path()
        folder = top / inside
        return [folder] if folder == top else [folder, folder.parent]
    return []


def _pid_namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _start(pid: int) -> int:
    """Return when a process started, in ticks since the machine's start; 0 where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0
