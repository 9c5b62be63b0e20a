"""Facts about this machine and its container: CPU cores, memory limits, loopback addresses.

The service, its client and the workers call it, so that all of them count and compare alike. It must never import
anything beyond the standard library: it runs before any heavy import.
"""

import ipaddress
import math
import os
import tempfile
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made in it is private
PREFIXES = f"luthier-prefixes-{os.getuid()}"  # the folder of this user's frozen prefixes, in memory and on disk


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's loopback, which no other machine can reach.

    Args:
        host: A host name or an IP address, without port and without the brackets of an IPv6 address.

    Returns:
        True for `localhost` in any case, 127.0.0.0/8 and ::1, also for 127.0.0.0/8 written as IPv6 (::ffff:127.0.0.1).
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"  # host names ignore case
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def prefix_folders(on_disk: Path | None) -> dict[str, Path]:
    """Return the folders of frozen prefixes that this user's workers on this machine share, which need not exist.

    Args:
        on_disk: The one on disk, where a setting names it; None for the one among the temporary files.

    Returns:
        "memory" and "disk" -> the folder.
    """
    return {"memory": SHARED_MEMORY / PREFIXES, "disk": on_disk or Path(tempfile.gettempdir()) / PREFIXES}


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Return the number of CPU cores for this process: at least 1, at most its container's quota, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(cgroup)
    return max(cores if quota is None else min(cores, math.ceil(quota)), 1)


def cpu_quota(cgroup: Path = CGROUP) -> float | None:
    """Return the container's CPU limit in cores (for example 1.5), or None without a limit. Reads cgroup v2, v1."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii")
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Return the container's memory limit in bytes, or None without a limit. Reads cgroup v2."""
    return _number(cgroup / "memory.max")


def memory_usage(cgroup: Path = CGROUP) -> int | None:
    """Return the bytes of memory that the container holds, or None where they are not counted. Reads cgroup v2."""
    return _number(cgroup / "memory.current")


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # ValueError: "max", no limit
        return None
