"""An assignment's files: written straight into the service's store where the disk is shared, else sent over HTTP.

A report or an outcome names a file only after the file is whole in the store.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from luthier.studies.protocol import Assignment
from luthier.studies.wire import FileRef
from luthier.trials.files import disk_problem, file_ref
from luthier.trials.worker.client import Rejected, WorkerClient

UPLOAD_ATTEMPTS = 3  # a checksum that did not match at the other end is tried again


class StoreError(Exception):
    """A file of the assignment cannot be had, or not be kept. The text is a sentence with the cure."""


def shares_disk(assignment: Assignment) -> bool:
    """Whether this process reads and writes the very disk on which the service keeps the assignment's files."""
    root = Path(assignment.store).parent
    try:
        mark = (root / ".mark").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return False
    return mark != "" and mark == assignment.store_mark.strip() and os.access(root, os.W_OK)


class AssignmentFolder:
    """The folder of one assignment on this machine. `open` makes it, `close` removes it where it is a copy."""

    def __init__(self, assignment: Assignment, client: WorkerClient, temporary: Path) -> None:
        self.shared = shares_disk(assignment)
        self.folder = Path(assignment.store) if self.shared else temporary / f"{assignment.id}-{assignment.attempt}"
        self._assignment, self._client = assignment, client
        self._sent: set[FileRef] = set()

    async def open(self) -> None:
        """Make the folder, with the assignment's checkpoint in it. Raises StoreError, client.LeaseLost."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept, rivals = self._assignment.checkpoint, (self._assignment.champion, self._assignment.challenger)
            for ref in (kept.resume, kept.best, *rivals):
                if ref is not None:
                    await self._fetch(ref)
        except OSError as error:
            raise StoreError(disk_problem(error, self.folder) or f"Cannot write to {self.folder}: {error}.") from error

    def close(self) -> None:
        if not self.shared:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _fetch(self, ref: FileRef) -> None:
        path = self.folder / ref.name
        if not self.shared:
            try:
                await self._client.download(self._assignment, ref, path)
            except Rejected as error:
                raise StoreError(str(error)) from error
        elif not path.is_file() or await asyncio.to_thread(file_ref, path) != ref:
            raise StoreError(f"The file {path} is missing or does not match its checksum; it cannot be used.")
        self._sent.add(ref)

    async def send(self, refs: Iterable[FileRef | None]) -> None:
        """Bring the named files into the service's store, each once; a copy is removed then.

        Raises StoreError, client.LeaseLost.
        """
        for ref in refs:
            if ref is None or self.shared or ref in self._sent:
                continue
            path = self.folder / ref.name
            for attempt in range(1, UPLOAD_ATTEMPTS + 1):
                try:
                    await self._client.upload(self._assignment, ref, path)
                    break
                except Rejected as error:
                    if attempt == UPLOAD_ATTEMPTS:
                        raise StoreError(f"The service did not take the file {ref.name}: {error}") from error
                except FileNotFoundError as error:
                    raise StoreError(f"The file {ref.name} was reported, but is gone from {self.folder}.") from error
            self._sent.add(ref)
            path.unlink(missing_ok=True)


class Temporary:
    """This process's folder for the files of assignments whose store is elsewhere.

    A lock in it tells a living worker's folder from what a killed one left behind, which is removed.
    """

    def __init__(self) -> None:
        home = os.environ.get("LUTHIER_HOME")
        root = Path(home, "worker") if home else _private(f"luthier-worker-{os.getuid()}")
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for lock in root.glob("*/.lock"):
            with contextlib.suppress(OSError), lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(prefix="files-", dir=root))
        self._lock = (self.folder / ".lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def _private(name: str) -> Path:
    """A folder that only this user can open, in the one for temporary files, which is everybody's: `name`, or where
    somebody else has made that, another one."""
    folder = Path(tempfile.gettempdir(), name)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700:
        return folder
    return Path(tempfile.mkdtemp(prefix=f"{name}-"))
