"""The file store: checkpoints of trials, logs, and packed models, under `<home>/store`.

Each assignment has a folder, and each schedule one for the models of its champions. Dispatch, schedules and the API use
it. Workers on this machine write there directly (each file to a temporary name, then renamed); others send their files
over HTTP. A row names a file only after the file is whole. Names of files and folders may never change.
"""

import contextlib
import errno
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from luthier.service.errors import Invalid, NotFound
from luthier.studies.files import HashingWriter, atomic_path
from luthier.studies.wire import FileRef

LOG = "log.txt"
MODEL = "model.tar.gz"  # the winner's, in the folder of its trial
MAX_LOG_BYTES = 16 * 2**20  # of one assignment: later lines are dropped, so that no loop of errors fills the disk


class FileStore:
    """The files under one folder. Threads and services share it.

    Attributes:
        root: the folder.
        mark: content of the file `.mark` in it: a worker that reads the same content shares this disk.
    """

    def __init__(self, root: Path) -> None:
        """Make the folder and its mark, unless they are there."""
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        mark = self.root / ".mark"
        if not mark.exists():
            fresh = self.root / f".mark-{secrets.token_hex(8)}"
            fresh.write_text(secrets.token_hex(16))
            with contextlib.suppress(FileExistsError):
                mark.hardlink_to(fresh)  # the first of several services wins
            fresh.unlink()
        self.mark = mark.read_text()

    def folder(self, study_id: int, assignment_id: int) -> Path:
        """Return an assignment's folder, which need not exist yet."""
        return self.root / f"{study_id}-{assignment_id}"

    def path(self, study_id: int, assignment_id: int, ref: FileRef) -> Path:
        """Return the path of a file that a row names. Raises NotFound when it is gone."""
        path = self.folder(study_id, assignment_id) / ref.name
        if not path.is_file():
            raise NotFound(f"The file {ref.name} is not in the service's store any more.")
        return path

    def require(self, study_id: int, assignment_id: int, ref: FileRef | None) -> None:
        """Raise Invalid unless the file is there with all its bytes; None stands for no file, and passes."""
        if ref is None:
            return
        path = self.folder(study_id, assignment_id) / ref.name
        if not path.is_file() or path.stat().st_size != ref.bytes:
            raise Invalid(f"{ref.name} is not whole in the service's store; send it before the message that names it.")

    @contextlib.asynccontextmanager
    async def receive(self, folder: Path, name: str, sha256: str, body: AsyncIterator[bytes]) -> AsyncIterator[None]:
        """Write a file that arrives over HTTP; it takes its name once the block has ended without an error.

        The block runs when all bytes have arrived; the caller checks the lease again in it. Nothing is left of a file
        that is cut short or does not match.

        Args:
            folder: where the file goes.
            name: its name.
            sha256: the checksum that was announced, in hexadecimal digits.
            body: the bytes.

        Raises:
            Invalid: the checksum is another one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / name, _temporary_name(name)) as temporary:
            with temporary.open("wb") as file:
                writer = HashingWriter(file)
                async for chunk in body:
                    writer.write(chunk)
            if writer.sha256 != sha256:
                raise Invalid(f"{name} arrived with another checksum than announced; send it again.")
            yield

    def drop(self, study_id: int, assignment_id: int, refs: list[FileRef]) -> None:
        """Remove files of an assignment, if they are there."""
        for ref in refs:
            (self.folder(study_id, assignment_id) / ref.name).unlink(missing_ok=True)

    def keep_only(self, study_id: int, assignment_id: int, refs: list[FileRef]) -> None:
        """Remove the files of an assignment that has ended, except `refs`, its log and its packed model.

        Files that are not whole yet stay too: an evaluation may have begun, and writes the model there.
        """
        folder = self.folder(study_id, assignment_id)
        names = {ref.name for ref in refs} | {LOG, MODEL}
        if folder.is_dir():
            for path in folder.iterdir():
                if path.name not in names and not path.name.startswith(".") and path.is_file():
                    path.unlink(missing_ok=True)

    def append_log(self, study_id: int, assignment_id: int, text: str) -> None:
        """Append lines to an assignment's log, unless it has reached `MAX_LOG_BYTES`."""
        if not text:
            return
        folder = self.folder(study_id, assignment_id)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("a", encoding="utf-8") as file:
            if file.tell() < MAX_LOG_BYTES:
                file.write(text if text.endswith("\n") else text + "\n")

    def read_log(self, study_id: int, assignment_id: int) -> str:
        """Return an assignment's log; empty where there is none."""
        path = self.folder(study_id, assignment_id) / LOG
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def schedule_folder(self, schedule_id: int) -> Path:
        """Return the folder of a schedule's champions, which need not exist yet."""
        return self.root / f"schedule-{schedule_id}"

    def link(self, source: Path, target: Path) -> None:
        """Hard-link `source` to `target`, atomically, or copy it where the disk has no hard links.

        The target is whole or not there. Deleting either keeps the other.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target, _temporary_name(target.name)) as temporary:
            try:
                temporary.hardlink_to(source)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                    raise
                shutil.copyfile(source, temporary)  # a disk without hard links

    def remove_schedule(self, schedule_id: int) -> None:
        """Remove a schedule's folder with all champions, if it is there."""
        shutil.rmtree(self.schedule_folder(schedule_id), ignore_errors=True)

    def remove_study(self, study_id: int) -> None:
        """Remove the folders of a study's assignments."""
        for folder in self.root.glob(f"{study_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)


def _temporary_name(name: str) -> str:
    """Return a new name for a file that is not complete yet; two requests may send the same file at once."""
    return f".{name}.{secrets.token_hex(4)}.part"
