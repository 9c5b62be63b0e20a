"""The memory that a trial may hold on this machine: of its GPU, or of machine and container.

`batch_fits` compares a step's memory with it.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from luthier.studies.gpus import USABLE_SHARE
from luthier.studies.host import CGROUP, memory_limit, memory_usage
from luthier.studies.sizes import size_of
from luthier.trials.memory import resident_bytes


@dataclass(frozen=True)
class MemoryLimit:
    """The bytes that a trial may hold.

    Attributes:
        now: While all that runs now keeps its memory.
        total: If nothing else ran.
    """

    now: float
    total: float


def gpu_limit(gpus: float) -> MemoryLimit:
    """Return the memory of a share of this GPU."""
    size = torch.cuda.mem_get_info()[1] * USABLE_SHARE * gpus
    return MemoryLimit(size, size)


def cpu_limit(weights: int) -> MemoryLimit:
    """Return the memory that the machine and the container leave.

    Args:
        weights: Bytes of the model, which is loaded already, so that the free memory lacks them.
    """
    machine = _meminfo()
    total = machine.get("MemTotal", math.inf)
    free = machine.get("MemAvailable", math.inf)
    container = memory_limit(CGROUP)
    if container is not None:
        total = min(total, container)
        free = min(free, container - (memory_usage(CGROUP) or 0))
    own = os.environ.get("LUTHIER_TRIAL_MEMORY", "").strip()
    if own:
        total = min(total, size_of(own))
        free = min(free, size_of(own) - (resident_bytes() or 0))
    return MemoryLimit(free + weights, total)


def _meminfo() -> dict[str, int]:
    """Return /proc/meminfo in bytes; empty off Linux."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines)}
