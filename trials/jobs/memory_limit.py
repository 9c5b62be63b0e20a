"""The memory that a trial may hold on this machine: of its GPU, or what the machine and the container leave.

`batch_fits` compares a step's memory with it.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

USABLE = 0.95
"""Share of a GPU's memory that trials may take."""
CGROUP = Path("/sys/fs/cgroup")
"""Linux's limits for a container, version 2."""


@dataclass(frozen=True)
class MemoryLimit:
    """The bytes that a trial may hold.

    Attributes:
        now: Beside all that runs now.
        total: If nothing else ran.
    """

    now: float
    total: float


def gpu_limit(gpus: float) -> MemoryLimit:
    """Return the memory of a share of this GPU."""
    size = torch.cuda.mem_get_info()[1] * USABLE * gpus
    return MemoryLimit(size, size)


def cpu_limit(weights: int) -> MemoryLimit:
    """Return the memory that the machine and the container leave.

    Args:
        weights: Bytes of the model, which is loaded already, and so is missing in what is free.
    """
    machine = _meminfo()
    total = machine.get("MemTotal", math.inf)
    free = machine.get("MemAvailable", math.inf)
    container = _number(CGROUP / "memory.max")
    if container is not None:
        total = min(total, container)
        free = min(free, container - (_number(CGROUP / "memory.current") or 0))
    return MemoryLimit(free + weights, total)


def _meminfo() -> dict[str, int]:
    """Return /proc/meminfo in bytes; empty off Linux."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines)}


def _number(file: Path) -> int | None:
    """Return a file's number; None where there is no file, or no limit ("max")."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
