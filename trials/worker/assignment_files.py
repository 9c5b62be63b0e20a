"""The files of an assignment: written into the service's store on a shared disk, else sent over HTTP.

The relay calls it. A report or an outcome may name a file only after the file is complete in the store and on its disk,
so that a power cut takes no file that a row names. Here the files' content is only compared with their checksums.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from luthier.studies.files import sync_file
from luthier.studies.protocol import TRAINING, Assignment, Checkpoint
from luthier.studies.wire import FileRef
from luthier.trials.errors import DamagedFile
from luthier.trials.files import disk_problem, file_ref
from luthier.trials.worker.client import Rejected, WorkerClient

UPLOAD_ATTEMPTS = 3  # a checksum that did not match at the other end is tried again


class AssignmentFileError(Exception):
    """A file of the assignment cannot be read, written or sent. The text is a sentence with the cure."""


class DiskFull(AssignmentFileError):
    """This worker's disk has no room for the assignment's files."""


def shares_disk(assignment: Assignment) -> bool:
    """Return whether this process can write to the disk on which the service keeps the assignment's files.

    The service writes a random text into the file `.mark` of its store: a process that reads the same text shares it.
    """
    root = Path(assignment.store).parent
    try:
        mark = (root / ".mark").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return False
    return mark != "" and mark == assignment.store_mark.strip() and os.access(root, os.W_OK)


class AssignmentFolder:
    """The folder of one assignment on this machine: the one in the service's store, or a copy.

    Args:
        assignment: The assignment, with its lease token.
        client: The connection to the service.
        temporary: The folder for a copy, where the store's disk is not shared.
    """

    def __init__(self, assignment: Assignment, client: WorkerClient, temporary: Path) -> None:
        self.shared = shares_disk(assignment)
        self.folder = Path(assignment.store) if self.shared else temporary / f"{assignment.id}-{assignment.attempt}"
        self._assignment = assignment
        self._client = client
        self._sent: set[FileRef] = set()

    async def open(self, log: Callable[[str], None]) -> Assignment:
        """Create the folder, and get the files that the assignment names: its checkpoint, models, a table.

        Args:
            log: Adds a line to the assignment's log.

        Returns:
            The assignment; a training whose checkpoint is damaged or missing starts at the beginning.

        Raises:
            DamagedFile: A file that is not for a training is missing or damaged.
            AssignmentFileError: The folder refuses the files.
            DiskFull: The disk is full.
            LeaseLost: The service has given the assignment to another worker.
        """
        assignment = self._assignment
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for ref in assignment.files:
                await self._fetch(ref)
            assignment = await self._with_members(await self._with_baseline(assignment, log), log)
        except DamagedFile as damage:
            if assignment.kind not in TRAINING:
                raise
            log(f"{damage} Attempt {assignment.attempt} starts at the beginning, and reaches the same scores again.")
            return assignment.model_copy(update={"checkpoint": Checkpoint()})
        except OSError as error:
            full = disk_problem(error, self.folder)
            if full is not None:
                raise DiskFull(full) from error
            raise AssignmentFileError(f"Cannot write to {self.folder}: {error}.") from error
        return assignment

    async def _with_baseline(self, assignment: Assignment, log: Callable[[str], None]) -> Assignment:
        """Get the baseline's weights; a winner is measured without them where they are damaged or missing."""
        if assignment.baseline is None:
            return assignment
        try:
            await self._fetch(assignment.baseline.weights)
        except DamagedFile as damage:
            log(f"The baseline is not measured: {damage}")
            return assignment.model_copy(update={"baseline": None})
        return assignment

    async def _with_members(self, assignment: Assignment, log: Callable[[str], None]) -> Assignment:
        """Get the weights of the winner's other repetitions; those that are damaged or missing are not averaged."""
        whole = []
        for member in assignment.members:
            try:
                await self._fetch(member.weights)
                whole.append(member)
            except DamagedFile as damage:
                log(f"Repetition {member.repetition} is no part of the average: {damage}")
        return assignment.model_copy(update={"members": whole}) if assignment.members else assignment

    def close(self) -> None:
        """Remove the folder where it is a copy."""
        if not self.shared:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _fetch(self, ref: FileRef) -> None:
        path = self.folder / ref.name
        if not self.shared:
            try:
                await self._client.download(self._assignment, ref, path)
            except Rejected as error:
                raise DamagedFile(str(error)) from error
        elif not await asyncio.to_thread(_is_whole, path, ref):
            raise DamagedFile(f"The file {path} is missing or damaged: it does not match its checksum.")
        self._sent.add(ref)

    async def send(self, refs: Iterable[FileRef | None]) -> None:
        """Bring the named files to the service's store and its disk, each once; a copy that was sent is removed.

        Args:
            refs: The files; None entries are skipped.

        Raises:
            AssignmentFileError: A file is gone, or the disk or the service did not take it.
            LeaseLost: The service has given the assignment to another worker.
        """
        for ref in refs:
            if ref is None or ref in self._sent:
                continue
            path = self.folder / ref.name
            if self.shared:
                await self._sync(path)
                self._sent.add(ref)
                continue
            for attempt in range(1, UPLOAD_ATTEMPTS + 1):
                try:
                    await self._client.upload(self._assignment, ref, path)
                    break
                except Rejected as error:
                    if attempt == UPLOAD_ATTEMPTS:
                        text = f"The service did not take the file {ref.name}: {error}"
                        raise AssignmentFileError(text) from error
                except FileNotFoundError as error:
                    raise AssignmentFileError(
                        f"The file {ref.name} was reported, but is gone from {self.folder}."
                    ) from error
            self._sent.add(ref)
            path.unlink(missing_ok=True)

    async def _sync(self, path: Path) -> None:
        """Wait until a file of the shared folder is on the disk; training goes on meanwhile."""
        try:
            await asyncio.to_thread(sync_file, path)
            if not self._sent:  # the folder's own name
                await asyncio.to_thread(sync_file, self.folder)
        except OSError as error:
            why = disk_problem(error, self.folder) or f"The file {path} was not written: {error}."
            raise AssignmentFileError(why) from error


def _is_whole(path: Path, ref: FileRef) -> bool:
    """Return whether a file has the content that `ref` names; one that the disk cannot read has not."""
    with contextlib.suppress(OSError):
        return path.is_file() and file_ref(path) == ref
    return False


class WorkerFolder:
    """This process's folder for copies of assignments' files. A new one removes the folders that killed workers left.

    A living worker holds a lock (flock) on the file `.lock` in its folder.
    """

    def __init__(self) -> None:
        home = os.environ.get("LUTHIER_HOME")
        root = Path(home, "worker") if home else _private_folder(f"luthier-worker-{os.getuid()}")
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for lock in root.glob("*/.lock"):
            with contextlib.suppress(OSError), lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix="files-", dir=root))
        self._lock = (self.path / ".lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def new_temporary(self) -> Path:
        """Make an empty folder for the temporary files of a new child; what another one left is removed."""
        folder = self.path / "tmp"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        return folder

    def remove(self) -> None:
        """Remove the folder and release its lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _private_folder(name: str) -> Path:
    """Return a folder that only this user can open: `name` in the temporary folder, or a new one if that is unsafe."""
    folder = Path(tempfile.gettempdir(), name)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) == 0o700:
        return folder
    return Path(tempfile.mkdtemp(prefix=f"{name}-"))
