"""Small disks for an arena's folders, where this user may mount any; elsewhere they are plain folders."""

import contextlib
import functools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.small_disk import SmallDisk, small_disk


@functools.cache
def may_mount() -> bool:
    """Return whether this user may mount a disk."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "luthier-test", folder]
        if subprocess.run(command, capture_output=True).returncode != 0:
            return False
        subprocess.run(["umount", "--lazy", folder], check=True)
    return True


@contextlib.contextmanager
def disk(folder: Path, megabytes: int, disks: dict[str, SmallDisk]) -> Iterator[None]:
    """Make a folder, on a disk of its own if that is allowed; such a disk is put under the folder's name."""
    if not may_mount():
        folder.mkdir()
        yield
        return
    with small_disk(folder, megabytes) as mounted:
        folder.chmod(0o755)
        disks[folder.name] = mounted
        yield
