"""The clock of a round's database: services see it move at the same instant, as those of one database do.

Its offset is a number in a file of the home that all services have mapped into their memory.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Any

OFFSET = struct.Struct("d")  # in seconds


def offset(home: Path) -> mmap.mmap:
    """Return the memory that a home's services share, which holds the offset."""
    file = os.open(home / "clock", os.O_RDWR | os.O_CREAT)
    try:
        if os.fstat(file).st_size == 0:
            os.pwrite(file, OFFSET.pack(0.0), 0)  # not a hole, for which a full disk would lack room later
        return mmap.mmap(file, OFFSET.size)
    finally:
        os.close(file)


def move(home: Path, seconds: float) -> None:
    """Set the clock forward, or back where `seconds` is negative."""
    with offset(home) as shared:
        OFFSET.pack_into(shared, 0, OFFSET.unpack_from(shared)[0] + seconds)


def follow(database: Any, home: Path) -> None:
    """Let a service's database have the clock of a home from now on."""
    shared = offset(home)
    moved = property(lambda _: OFFSET.unpack_from(shared)[0])
    database.__class__ = type("Moved", (type(database),), {"clock_offset": moved})
