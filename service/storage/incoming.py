"""Files that users send: written to the store while they arrive, and gone unless somebody takes them.

Routes call it before anything in the database names the file. How large a file may be is decided before
(`api/body_limit.py`).
"""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from anyio.to_thread import run_sync

from luthier.service.storage.file_store import FileStore, Place
from luthier.service.storage.folders import Folder
from luthier.studies.files import HashingWriter, sync_descriptor


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
    """
    name = f".upload.{secrets.token_hex(8)}.part"
    with Folder.opened(store.root, folder, create=True) as opened:
        try:
            size = 0
            with opened.create(name) as file:
                writer = HashingWriter(file)
                async for chunk in body:
                    await run_sync(writer.write, chunk)
                    size += len(chunk)
                file.flush()
                await run_sync(sync_descriptor, file.fileno())
            yield Incoming(Place(folder, name), writer.sha256, size)
        finally:
            opened.remove(name)
