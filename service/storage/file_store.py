"""The file store: checkpoints of trials, logs, and packed models, under `<home>/store`.

Each assignment has a folder, and each schedule one for the models of its champions. Dispatch, schedules and the API use
it. Workers on this machine write there directly (each file to a temporary name, then renamed); others send their files
over HTTP. A row names a file only after the file is whole. Names of files and folders may never change. Nothing that a
worker left there is followed or trusted: see `folders.py`.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

from anyio.to_thread import run_sync

from luthier.service.errors import Invalid, NotFound
from luthier.service.storage.folders import Folder
from luthier.studies.files import HashingWriter, sync_descriptor
from luthier.studies.wire import FileRef

LOG = "log.txt"
MODEL = "model.tar.gz"  # the winner's, in the folder of its trial
MAX_LOG_BYTES = 16 * 2**20  # of one assignment: later lines are dropped, so that no loop of errors fills the disk
ASSIGNMENT_FOLDER = re.compile(r"([1-9][0-9]*)-([1-9][0-9]*)", re.ASCII)  # study's id, assignment's id
SCHEDULE_FOLDER = re.compile(r"schedule-([1-9][0-9]*)", re.ASCII)


class Place(NamedTuple):
    """The place of a file in the store: the names of its folder and of itself."""

    folder: str
    name: str


class FileStore:
    """The files under one folder. Threads and services share it.

    Attributes:
        root: the folder.
        mark: content of the file `.mark` in it: a worker that reads the same content shares this disk.
        orphaned_bytes: bytes of files that this process has removed because no row named them.
    """

    orphaned_bytes = 0

    def __init__(self, root: Path) -> None:
        """Make the folder and its mark, unless they are there."""
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        mark = self.root / ".mark"
        if not mark.exists() or mark.is_symlink():
            fresh = self.root / f".mark-{secrets.token_hex(8)}"
            try:
                fresh.write_text(secrets.token_hex(16))
                if mark.is_symlink():
                    mark.unlink()
                with contextlib.suppress(FileExistsError):
                    mark.hardlink_to(fresh)  # the first of several services wins
            finally:
                fresh.unlink(missing_ok=True)
        with Folder.opened(self.root.parent, self.root.name) as folder, folder.read(mark.name) as file:
            self.mark = file.read(100).decode()

    def folder(self, study_id: int, assignment_id: int) -> Path:
        """Return an assignment's folder, which need not exist yet."""
        return self.root / f"{study_id}-{assignment_id}"

    @staticmethod
    def place(study_id: int, assignment_id: int, name: str) -> Place:
        """Return the place of a file of an assignment."""
        return Place(f"{study_id}-{assignment_id}", name)

    @staticmethod
    def champion_place(schedule_id: int, name: str) -> Place:
        """Return the place of a packed model of a schedule."""
        return Place(f"schedule-{schedule_id}", name)

    def open(self, place: Place) -> BufferedReader:
        """Open a file for reading. Raises NotFound when it is gone, or is no regular file."""
        try:
            with self._opened(place.folder) as folder:
                return folder.read(place.name)
        except FileNotFoundError:
            raise NotFound(f"The file {place.name} is not in the service's store any more.") from None

    def exists(self, place: Place) -> bool:
        """Return whether a regular file is there."""
        with contextlib.suppress(NotFound), self.open(place):
            return True
        return False

    def is_whole(self, place: Place, ref: FileRef) -> bool:
        """Return whether a file is there with the content that it was named with; it reads all of it."""
        with contextlib.suppress(NotFound, OSError), self.open(place) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == ref.sha256
        return False

    def require(self, study_id: int, assignment_id: int, ref: FileRef | None) -> None:
        """Raise Invalid unless the file is there with all its bytes; None stands for no file, and passes."""
        if ref is not None and not self.has(study_id, assignment_id, ref):
            raise Invalid(f"{ref.name} is not whole in the service's store; send it before the message that names it.")

    def has(self, study_id: int, assignment_id: int, ref: FileRef) -> bool:
        """Return whether a file of an assignment is there with all its bytes; its content is not read."""
        with contextlib.suppress(NotFound), self.open(self.place(study_id, assignment_id, ref.name)) as file:
            return os.fstat(file.fileno()).st_size == ref.bytes
        return False

    @contextlib.asynccontextmanager
    async def receive(self, place: Place, sha256: str, body: AsyncIterator[bytes]) -> AsyncIterator[None]:
        """Write a file that arrives over HTTP; it takes its name once the block has ended without an error.

        The block runs when all bytes have arrived and are on the disk; the caller checks the lease again in it. Nothing
        is left of a file that is cut short or does not match.

        Args:
            place: where the file goes.
            sha256: the checksum that was announced, in hexadecimal digits.
            body: the bytes.

        Raises:
            Invalid: the checksum is another one, or something that is no folder has the folder's name.
        """
        try:
            opening = self._opened(place.folder, create=True)
            folder = opening.__enter__()
        except FileNotFoundError:
            raise Invalid(f"{place.folder} is no folder of the service's store; {place.name} was not kept.") from None
        temporary = _temporary_name(place.name)
        try:
            with folder.create(temporary) as file:
                writer = HashingWriter(file)
                async for chunk in body:
                    writer.write(chunk)
                file.flush()
                await run_sync(sync_descriptor, file.fileno())
            if writer.sha256 != sha256:
                raise Invalid(f"{place.name} arrived with another checksum than announced; send it again.")
            yield
            await run_sync(folder.rename, temporary, place.name)
        finally:
            folder.remove(temporary)
            opening.__exit__(None, None, None)

    def drop(self, study_id: int, assignment_id: int, refs: list[FileRef]) -> None:
        """Remove files of an assignment, if they are there."""
        for ref in refs:
            self.remove(self.place(study_id, assignment_id, ref.name))

    def remove(self, place: Place) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError), self._opened(place.folder) as folder:
            folder.remove(place.name)

    def keep_only(self, study_id: int, assignment_id: int, refs: list[FileRef]) -> None:
        """Remove the files of an assignment that has ended, except `refs`, its log and its packed model.

        Files that are not whole yet stay too: an evaluation may have begun, and writes the model there.
        """
        names = {ref.name for ref in refs} | {LOG, MODEL}
        with contextlib.suppress(FileNotFoundError), self._opened(f"{study_id}-{assignment_id}") as folder:
            for name in folder.names():
                if name not in names and not name.startswith("."):
                    folder.remove(name)

    def append_log(self, study_id: int, assignment_id: int, text: str) -> None:
        """Append lines to an assignment's log, unless it has reached `MAX_LOG_BYTES`."""
        if not text:
            return
        with self._opened(f"{study_id}-{assignment_id}", create=True) as folder, folder.append(LOG) as file:
            if file.tell() < MAX_LOG_BYTES:
                file.write((text if text.endswith("\n") else text + "\n").encode())

    def read_log(self, study_id: int, assignment_id: int) -> str:
        """Return an assignment's log; empty where there is none."""
        with contextlib.suppress(NotFound), self.open(self.place(study_id, assignment_id, LOG)) as file:
            return file.read(2 * MAX_LOG_BYTES).decode(errors="replace")
        return ""

    def read_log_end(self, study_id: int, assignment_id: int, characters: int) -> str:
        """Return whole lines of the end of an assignment's log, about so many characters; empty where there is none."""
        with contextlib.suppress(NotFound), self.open(self.place(study_id, assignment_id, LOG)) as file:
            size = file.seek(0, os.SEEK_END)
            start = max(size - characters, 0)
            file.seek(start)
            text = file.read(2 * characters).decode(errors="replace")
            return text.partition("\n")[2] if start else text
        return ""

    def log_size(self, study_id: int, assignment_id: int) -> int:
        """Return how many bytes an assignment's log has; 0 where there is none."""
        with contextlib.suppress(NotFound, OSError), self.open(self.place(study_id, assignment_id, LOG)) as file:
            return os.fstat(file.fileno()).st_size
        return 0

    def read_log_part(self, study_id: int, assignment_id: int, offset: int, most: int) -> bytes:
        """Return the next lines of an assignment's log: whole lines, or a part of one that is too long.

        Args:
            study_id: the study.
            assignment_id: the assignment.
            offset: where to begin, in bytes.
            most: how many bytes to return at most.
        """
        with contextlib.suppress(NotFound), self.open(self.place(study_id, assignment_id, LOG)) as file:
            file.seek(offset)
            part = file.read(most)
            lines = part[: part.rfind(b"\n") + 1]
            if lines or len(part) < most:
                return lines or part
            while part and part[-1] & 0xC0 == 0x80:  # the end of a character of several bytes, perhaps cut
                part = part[:-1]
            return part[:-1] or b"?"
        return b""

    def link(self, source: Place, target: Place) -> None:
        """Hard-link `source` to `target`, atomically, or copy it where the disk has no hard links.

        The target is whole or not there, and synced to the disk. Deleting either keeps the other.

        Raises:
            NotFound: The source is gone.
        """
        temporary = _temporary_name(target.name)
        with self.open(source) as file, self._opened(source.folder) as above, self._opened(target.folder, True) as into:
            try:
                self._link_or_copy(file, above, source.name, into, temporary)
                into.rename(temporary, target.name)
            finally:
                into.remove(temporary)

    @staticmethod
    def _link_or_copy(file: BinaryIO, above: Folder, name: str, into: Folder, temporary: str) -> None:
        try:
            folders = {"src_dir_fd": above.descriptor, "dst_dir_fd": into.descriptor}
            os.link(name, temporary, follow_symlinks=False, **folders)
            linked = into.status(temporary)
            if linked is not None and os.path.samestat(linked, os.fstat(file.fileno())):
                return
            into.remove(temporary)  # another file has taken the name just now
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
        with into.create(temporary) as copy:  # a disk without hard links
            shutil.copyfileobj(file, copy)
            copy.flush()
            sync_descriptor(copy.fileno())

    def remove_schedule(self, schedule_id: int) -> None:
        """Remove a schedule's folder with all champions, if it is there."""
        shutil.rmtree(self.root / f"schedule-{schedule_id}", ignore_errors=True)

    def remove_assignment(self, study_id: int, assignment_id: int) -> None:
        """Remove an assignment's folder, its log too, if it is there."""
        shutil.rmtree(self.root / f"{study_id}-{assignment_id}", ignore_errors=True)

    def remove_study(self, study_id: int) -> None:
        """Remove the folders of a study's assignments."""
        for path in self.root.iterdir():
            match = ASSIGNMENT_FOLDER.fullmatch(path.name)
            if match is not None and int(match[1]) == study_id:
                shutil.rmtree(path, ignore_errors=True)

    def _opened(self, folder: str, create: bool = False) -> contextlib.AbstractContextManager[Folder]:
        return Folder.opened(self.root, folder, create)


def _temporary_name(name: str) -> str:
    """Return a new name for a file that is not complete yet; two requests may send the same file at once."""
    return f".{name}.{secrets.token_hex(4)}.part"
