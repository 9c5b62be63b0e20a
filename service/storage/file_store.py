"""Files of the service: checkpoints of trials, logs, and the winners' models, under `<home>/store`.

One folder an assignment, and one a schedule, for the models of its champions. Workers on this machine write there
directly (each file to a temporary name, then renamed); others send their files over HTTP. A row names a file only after
the file is whole.
"""

import contextlib
import errno
import hashlib
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from luthier.service.errors import Invalid, NotFound
from luthier.studies.wire import FileRef

LOG = "log.txt"
MODEL = "model.tar.gz"  # the winner's, in the folder of its trial
MAX_LOG_BYTES = 16 * 2**20


class FileStore:
    def __init__(self, root: Path) -> None:
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
        return self.root / f"{study_id}-{assignment_id}"

    def path(self, study_id: int, assignment_id: int, ref: FileRef) -> Path:
        """A file that a row names. Raises NotFound when it is gone."""
        path = self.folder(study_id, assignment_id) / ref.name
        if not path.is_file():
            raise NotFound(f"The file {ref.name} is not in the service's store any more.")
        return path

    def require(self, study_id: int, assignment_id: int, ref: FileRef | None) -> None:
        """Raise Invalid unless the file is there, whole."""
        if ref is None:
            return
        path = self.folder(study_id, assignment_id) / ref.name
        if not path.is_file() or path.stat().st_size != ref.bytes:
            raise Invalid(f"{ref.name} is not whole in the service's store; send it before the message that names it.")

    @contextlib.asynccontextmanager
    async def receive(self, folder: Path, name: str, sha256: str, body: AsyncIterator[bytes]) -> AsyncIterator[None]:
        """Write a file that arrives over HTTP. It takes its name once the block has passed, where the lease is looked
        at again; nothing is left of one that is cut short or does not match. Raises Invalid."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{name}.{secrets.token_hex(4)}.part"
        digest = hashlib.sha256()
        try:
            with temporary.open("wb") as file:
                async for chunk in body:
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise Invalid(f"{name} arrived with another checksum than announced; send it again.")
            yield
            temporary.replace(folder / name)
        finally:
            temporary.unlink(missing_ok=True)

    def drop(self, study_id: int, assignment_id: int, refs: list[FileRef]) -> None:
        for ref in refs:
            (self.folder(study_id, assignment_id) / ref.name).unlink(missing_ok=True)

    def keep_only(self, study_id: int, assignment_id: int, refs: list[FileRef]) -> None:
        """Remove every file of a finished assignment that no row names, save its log and what an evaluation, which may
        have begun meanwhile, writes there: the model, and files that are not whole yet."""
        folder, names = self.folder(study_id, assignment_id), {ref.name for ref in refs} | {LOG, MODEL}
        if folder.is_dir():
            for path in folder.iterdir():
                if path.name not in names and not path.name.startswith(".") and path.is_file():
                    path.unlink(missing_ok=True)

    def append_log(self, study_id: int, assignment_id: int, text: str) -> None:
        if not text:
            return
        folder = self.folder(study_id, assignment_id)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("a", encoding="utf-8") as file:
            if file.tell() < MAX_LOG_BYTES:
                file.write(text if text.endswith("\n") else text + "\n")

    def read_log(self, study_id: int, assignment_id: int) -> str:
        path = self.folder(study_id, assignment_id) / LOG
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def schedule_folder(self, schedule_id: int) -> Path:
        return self.root / f"schedule-{schedule_id}"

    def link(self, source: Path, target: Path) -> None:
        """Give a whole file another place; one that goes leaves the other be. The target is whole or not there."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            try:
                temporary.hardlink_to(source)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                    raise
                shutil.copyfile(source, temporary)  # a disk without hard links
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def remove_schedule(self, schedule_id: int) -> None:
        shutil.rmtree(self.schedule_folder(schedule_id), ignore_errors=True)

    def remove_study(self, study_id: int) -> None:
        for folder in self.root.glob(f"{study_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)
