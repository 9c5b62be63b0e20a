"""A small disk of its own (a tmpfs), which tests fill and empty again; only root may mount one."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted disk of some megabytes.

    Attributes:
        folder: Its mount point.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Take all of its room."""
        with self._ballast.open("ab", buffering=0) as file:
            chunk = b"x" * 2**20
            while chunk:
                try:
                    file.write(chunk)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    chunk = chunk[: len(chunk) // 2]

    def free(self) -> None:
        """Give all room back."""
        self._ballast.unlink(missing_ok=True)  # a cache may have cleared its folder


@contextmanager
def small_disk(folder: Path, megabytes: int, files: int | None = None) -> Iterator[SmallDisk]:
    """Mount a disk on a new folder until the block ends; the test is skipped where that is not allowed.

    `files`: that it can hold, with folders; None: any number.
    """
    folder.mkdir()
    size = f"size={megabytes}m" + ("" if files is None else f",nr_inodes={files}")
    command = ["mount", "-t", "tmpfs", "-o", size, "luthier-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a disk")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
