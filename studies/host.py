"""How many CPU cores a process may use. Here because the service and its workers count alike and share nothing else."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Cores this process may run on, at most its container's quota (rounded up); at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(cores if quota is None else min(cores, math.ceil(quota)), 1)


def _quota(cgroup: Path) -> float | None:
    """CPU time per time that the container may have, in cores; None without a limit (cgroup v2, then v1)."""
    try:
        used, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            folder = cgroup / "cpu"
            used, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
        except OSError:
            return None
    try:
        return int(used) / int(period) if int(used) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None
