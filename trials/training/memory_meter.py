"""The memory that a trial takes: on a GPU the peak, on the CPU the resident memory of the process.

Training and the measurements of the first inspection use it.
"""

import contextlib
import os
import resource
from pathlib import Path

import torch

STATM = Path("/proc/self/statm")
"""Linux's counts of this process's pages: all of them first, then those in memory."""


class MemoryMeter:
    """The most memory, in bytes, that was measured since the meter was made or reset.

    There may be a single meter at a time: the GPU's peak is a counter of the whole process.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._most = 0  # bytes
        self.reset()

    def reset(self) -> None:
        """Forget what was measured, and start the GPU's peak from what is allocated now."""
        self._most = 0
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()

    def measure(self) -> int:
        """Measure now, and return the most bytes measured since the last reset.

        On a GPU a measurement is the peak since the reset; on the CPU it is the process's resident memory (macOS: the
        peak of it).
        """
        self._most = max(self._most, torch.cuda.max_memory_allocated() if self._on_gpu else _resident_bytes())
        return self._most


def _resident_bytes() -> int:
    with contextlib.suppress(OSError):  # there is no such file off Linux
        return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
