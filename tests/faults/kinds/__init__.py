"""All kinds of faults; importing this package makes the list `registry.FAULTS`."""

from tests.faults.kinds import backups, children, clocks, disks, memory, messages, postgres, power, processes

__all__ = ["backups", "children", "clocks", "disks", "memory", "messages", "postgres", "power", "processes"]
