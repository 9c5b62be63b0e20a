"""Answers that are a file of the store: sent from the file that was opened, whatever takes its name meanwhile."""

import hashlib
from typing import BinaryIO

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from luthier.service.errors import NotFound
from luthier.service.storage.file_store import FileStore, Place
from luthier.studies.wire import FileRef


class StoredFile(FileResponse):
    """An open file as the answer of a route; it is closed once it was sent."""

    def __init__(self, file: BinaryIO, media_type: str, sha256: str | None = None, filename: str | None = None) -> None:
        """Make the answer.

        Args:
            file: open for reading; the answer closes it.
            media_type: its type.
            sha256: its checksum for the header X-Content-SHA256, in hexadecimal digits.
            filename: the name under which browsers keep it.
        """
        headers = None if sha256 is None else {"X-Content-SHA256": sha256}
        super().__init__(f"/dev/fd/{file.fileno()}", media_type=media_type, filename=filename, headers=headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, then close it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


def stored_model(store: FileStore, place: Place, ref: FileRef, name: str) -> StoredFile:
    """Return a packed model as the answer of a download, after its checksum was compared.

    Args:
        store: The store.
        place: Where the model lies.
        ref: The file as a row names it.
        name: Of the study or the schedule, for the file's name and for messages.

    Raises:
        NotFound: The file is gone, or damaged.
    """
    file = store.open(place)
    if hashlib.file_digest(file, "sha256").hexdigest() != ref.sha256:
        file.close()
        raise NotFound(
            f"The model of {name} is damaged: {place.folder}/{place.name} in the service's store has another checksum "
            "than it was stored with. Put that file back from a backup, or run the same spec under another name."
        )
    file.seek(0)
    return StoredFile(file, "application/gzip", ref.sha256, f"{name}.tar.gz")
