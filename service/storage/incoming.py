"""Files that users send: written to the store while they arrive, and gone unless somebody takes them.

Routes call it before anything in the database names the file, and those of data sets ask it for room. How large a file
may be is decided before (`api/body_limit.py`).
"""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from luthier.service.errors import DiskIsFull
from luthier.service.storage.file_store import FileStore, Place
from luthier.service.storage.folders import Folder
from luthier.studies.disk import disk_of, free_bytes, is_full
from luthier.studies.files import HashingWriter, sync_descriptor

SPARE_BYTES = 2**24  # that stay free on the disk, so that trials can write while uploads end


@dataclass(frozen=True)
class Incoming:
    """A file that has arrived whole, under a temporary name.

    Attributes:
        place: where it lies.
        sha256: its checksum, in hexadecimal digits.
        bytes: its size.
    """

    place: Place
    sha256: str
    bytes: int


@contextlib.asynccontextmanager
async def received(store: FileStore, folder: str, body: AsyncIterator[bytes]) -> AsyncIterator[Incoming]:
    """Write a body to the disk; the block may link the file elsewhere, and its temporary name goes with the block.

    Args:
        store: the store.
        folder: the name of a folder of the store, which is made where it is missing.
        body: the bytes. An error of it, as of a client that hangs up, leaves nothing behind.

    Raises:
        FileNotFoundError: something that is no folder has the folder's name.
        DiskIsFull: the disk has no room for it.
    """
    name = f".upload.{secrets.token_hex(8)}.part"
    with Folder.opened(store.root, folder, create=True) as opened:
        try:
            size = 0
            with opened.create(name) as file:
                writer = HashingWriter(file)
                async for chunk in body:
                    await run_sync(require_room, store.root, len(chunk))
                    await run_sync(writer.write, chunk)
                    size += len(chunk)
                file.flush()
                await run_sync(sync_descriptor, file.fileno())
            yield Incoming(Place(folder, name), writer.sha256, size)
        except OSError as error:
            raise (full(store.root) if is_full(error) else error) from error
        finally:
            opened.remove(name)


def require_room(folder: Path, size: int) -> None:
    """Raise DiskIsFull where so many more bytes would leave too few to trials on the disk of a folder."""
    if free_bytes(folder) < SPARE_BYTES + size:
        raise full(folder)


def full(folder: Path) -> DiskIsFull:
    """Return the refusal of a file that finds no room."""
    return DiskIsFull(
        f"The upload does not fit: the store lies on {disk_of(folder)}. Nothing of it was kept. Free some space there, "
        "or delete data sets and predictions that nobody uses."
    )
