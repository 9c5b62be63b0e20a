"""What a trial has written: the bytes of its files on this machine, which may be no more than LUTHIER_TRIAL_DISK.

The relay asks while the child works. One file alone cannot pass the limit (RLIMIT_FSIZE); many together are seen here.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from luthier.studies.sizes import told
from luthier.trials.worker.child_limits import DISK


class WrittenBytes:
    """The files in some folders, and what they may grow by.

    Args:
        folders: They need not exist.
        limit: Bytes; None: no limit.
    """

    def __init__(self, folders: Iterable[Path], limit: int | None) -> None:
        self._folders = list(folders)
        self.limit = limit
        self._before = 0 if limit is None else self._count()

    def problem(self) -> str | None:
        """Return a sentence once the files have grown by more than the limit; else None."""
        if self.limit is None:
            return None
        grown = self._count() - self._before
        if grown <= self.limit:
            return None
        return too_much(f"The trial's files take {told(grown)}", self.limit)

    def _count(self) -> int:
        total = 0
        for folder in self._folders:
            for place, _, names in os.walk(folder):
                for name in names:
                    with contextlib.suppress(OSError):
                        total += Path(place, name).lstat().st_size
        return total


def too_much(what: str, limit: int) -> str:
    """Return a sentence with the cure for a trial that has written too much."""
    cure = "Raise it where the worker runs, or train a smaller model"
    return f"{what}, and {DISK} = {told(limit)} is what a trial may write. {cure}."
