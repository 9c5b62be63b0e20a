"""Copies of uploaded data sets on a worker's machine, for workers that do not share the service's disk.

The relay calls it. A copy is fetched over HTTP under the assignment's lease, compared with its checksum, unpacked, and
takes its name once it is whole; workers of one user on one machine share it. What was not used for longest goes when
the copies of the machine are more than LUTHIER_DATASET_CACHE_BYTES; what is in use stays.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

from luthier.studies.data_archives import unpack_data
from luthier.studies.protocol import Assignment
from luthier.studies.unpacked_folder import DataArchiveError
from luthier.studies.uploads import FILES, is_archive, store_folder, stored_name
from luthier.studies.wire import MOST_BYTES, DatasetRef, FileRef
from luthier.trials.files import disk_problem
from luthier.trials.worker.assignment_files import AssignmentFileError, DiskFull
from luthier.trials.worker.client import Rejected, WorkerClient

COPIES = "datasets"  # the folder, beside those of the worker processes
CACHE_BYTES = 50 * 10**9  # by default
WAIT_SECONDS = 0.2  # between two looks whether another worker has fetched a copy


class DatasetCopies:
    """The copies that one assignment uses; its locks keep them until `close`.

    Args:
        client: The connection to the service.
        root: The folder of the copies.
    """

    def __init__(self, client: WorkerClient, root: Path) -> None:
        self._client = client
        self._root = root
        self._locks: list[IO[str]] = []

    async def open(self, assignment: Assignment, shared: bool, log: Callable[[str], None]) -> dict[str, str]:
        """Return id -> the folder with its files, of each uploaded data set that the assignment names.

        Args:
            assignment: The assignment, with its lease token.
            shared: Whether this worker shares the service's disk; then nothing is copied.
            log: Adds a line to the assignment's log.

        Raises:
            AssignmentFileError: A copy cannot be made.
            DiskFull: This worker's disk has no room for one.
            LeaseLost: The service has given the assignment to another worker.
        """
        if shared:
            store = Path(assignment.store).parent
            return {ref.id: str(store / store_folder(ref.id) / FILES) for ref in assignment.datasets}
        folders = {}
        for ref in assignment.datasets:
            try:
                folders[ref.id] = str(await self._copy(assignment, ref, log))
            except (Rejected, DataArchiveError) as error:
                text = f"The data set {ref.id} did not arrive on this worker: {error}"
                raise AssignmentFileError(text) from error
            except OSError as error:
                full = disk_problem(error, self._root)
                if full is not None:
                    raise DiskFull(full) from error
                raise AssignmentFileError(f"Cannot write to {self._root}: {error}.") from error
        return folders

    def close(self) -> None:
        """Allow that the copies are removed for others."""
        for lock in self._locks:
            lock.close()
        self._locks.clear()

    async def _copy(self, assignment: Assignment, ref: DatasetRef, log: Callable[[str], None]) -> Path:
        """Return the folder with the files of a copy, made unless it is there; one worker at a time makes it."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = self._root / f"{ref.id}-{ref.sha256[:16]}"
        lock = (self._root / f"{folder.name}.lock").open("a")
        try:
            while not (_locked(lock, fcntl.LOCK_SH) and folder.is_dir()):
                if not _locked(lock, fcntl.LOCK_EX):
                    await asyncio.sleep(WAIT_SECONDS)
                elif not folder.is_dir():
                    await asyncio.to_thread(_make_room, self._root, ref.bytes + ref.unpacked_bytes)
                    log(f"Fetching the data set {ref.id} ({ref.bytes:,} bytes) from the service.")
                    await self._fetch(assignment, ref, folder)
            os.utime(folder)
            self._locks.append(lock)
            return folder / FILES
        except BaseException:
            lock.close()
            raise

    async def _fetch(self, assignment: Assignment, ref: DatasetRef, folder: Path) -> None:
        part = folder.with_name(f"{folder.name}.part")  # of a worker that was killed, if it is there: the lock is ours
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir()
            stored = FileRef(name=stored_name(ref.kind), sha256=ref.sha256, bytes=ref.bytes)
            await self._client.download_dataset(assignment, stored, ref.id, part / stored.name)
            if is_archive(ref.kind):
                await asyncio.to_thread(unpack_data, part / stored.name, ref.kind, part / FILES, MOST_BYTES)
                (part / stored.name).unlink()
            else:
                (part / FILES).mkdir()
                (part / stored.name).rename(part / FILES / stored.name)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _locked(lock: IO[str], how: int) -> bool:
    """Take a lock, or change to it, unless another's lock forbids it; then none is held."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, how | fcntl.LOCK_NB)
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _make_room(root: Path, wanted: int) -> None:
    """Remove copies that nobody uses, the longest unused first, until `wanted` more bytes fit into the limit."""
    limit = int(os.environ.get("LUTHIER_DATASET_CACHE_BYTES") or CACHE_BYTES)
    copies = sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in copies}
    total = sum(sizes.values()) + wanted
    for path in copies:
        if total <= limit:
            return
        with contextlib.suppress(OSError), (root / f"{path.name.removesuffix('.part')}.lock").open("a") as lock:
            if _locked(lock, fcntl.LOCK_EX):
                shutil.rmtree(path)
                total -= sizes[path]
