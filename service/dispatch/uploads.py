"""Uploads become data sets, and data sets go: the row and the files together, or neither.

Routes and the sweeper of orphans call it. What concerns one id is done by one request at a time, also of several
services: under the lock of `serialize`, held by a transaction. Files move to their place before the row is committed,
so a row never names files that are not whole; files without a row are swept.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.access import projects
from luthier.service.dispatch.core import Core
from luthier.service.lifecycle import datasets
from luthier.service.lifecycle.creation_limits import CreationLimits
from luthier.service.storage.dataset_store import DatasetStore
from luthier.service.storage.service_tables import DatasetRow
from luthier.studies.uploads import dataset_id, is_archive


@dataclass(frozen=True)
class Upload:
    """A file that has arrived whole, with what it was unpacked to, in a folder of `DatasetStore.upload`.

    Attributes:
        folder: That folder.
        name: For people.
        kind: As `studies.uploads.kind_of_upload` tells it.
        sha256: Of the file.
        bytes: Of the file.
        files: Path and bytes of each file that workers read.
    """

    folder: Path
    name: str
    kind: str
    sha256: str
    bytes: int
    files: list[tuple[str, int]]


def serialize(core: Core, session: Session, id: str) -> None:
    """Wait until no other transaction makes or removes the data set, and keep others waiting until this one ends."""
    core.database.serialize(session, f"luthier dataset {id}")


def is_listed(session: Session, id: str) -> bool:
    """Return whether a data set has a row, in any project: then its files are needed."""
    return session.scalar(select(DatasetRow.id).where(DatasetRow.digest == id)) is not None


def store(core: Core, upload: Upload, limits: CreationLimits | None = None) -> tuple[bool, DatasetRow]:
    """Make a data set of an upload, or find the one with the same content; return whether it is new, and its row.

    It is one of the caller's project; the files are those of all projects that have the same content. Where the files
    of an older row are gone, or another's, the upload's take their place. Raises TooMany where `limits` allow no
    further one.
    """
    files = DatasetStore(core.store.root)
    id = dataset_id(upload.kind, upload.sha256)
    with core.database.transaction() as session:
        serialize(core, session, id)
        projects.hold(session)
        is_first = not is_listed(session, id)
        row = session.scalar(select(DatasetRow).where(DatasetRow.digest == id, DatasetRow.is_here()))
        created = row is None
        if row is None:
            unpacked_bytes = sum(size for _, size in upload.files)
            if limits is not None:
                limits.check_dataset(session, upload.bytes + (unpacked_bytes if is_archive(upload.kind) else 0))
            row = DatasetRow(
                digest=id,
                name=upload.name,
                kind=upload.kind,
                sha256=upload.sha256,
                bytes=upload.bytes,
                unpacked_bytes=unpacked_bytes,
                file_count=len(upload.files),
                files=[{"path": path, "bytes": size} for path, size in upload.files[: datasets.LISTED_FILES]],
                created_at=core.database.time(session),
            )
            session.add(row)
            session.flush()
        if is_first or not files.has(id, row.kind, row.bytes):
            files.place(upload.folder, id, row.id)
        return created, row


def delete(core: Core, id: str, unless_named: bool = False) -> None:
    """Delete a data set that nobody needs any more: its row, then its files.

    Args:
        core: database and store.
        id: the data set's.
        unless_named: keep it also where only ended studies name it.

    Raises:
        NotFound: it is not there.
        Conflict: it is in use.
    """
    with core.database.transaction() as session:
        serialize(core, session, id)
        datasets.delete(session, id, unless_named)
    with core.database.transaction() as session:
        serialize(core, session, id)
        if not is_listed(session, id):  # else another project has it, or it was uploaded again just now
            DatasetStore(core.store.root).remove(id)
