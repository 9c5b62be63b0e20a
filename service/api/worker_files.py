"""Files that workers send, within what a trial may write and what the disk can take: neither is left to the sender.

The route of the worker protocol reads a body through here.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from luthier.service.api.context import Service
from luthier.service.errors import TooLarge, Unavailable
from luthier.service.storage.file_store import LOG, Place
from luthier.studies.disk import disk_of, free_bytes
from luthier.studies.sizes import told

RETRY_SECONDS = 5  # the worker waits for room, as it does where the disk is full


async def bounded(service: Service, request: Request, place: Place) -> AsyncIterator[bytes]:
    """Yield the body of a file that goes to a place in the store.

    Raises:
        TooLarge: the trial would have more bytes of files than LUTHIER_TRIAL_DISK, or than the whole disk.
        Unavailable: the file does not fit on the disk now.
    """
    most = await run_in_threadpool(_room_of_trial, service, place)
    announced = request.headers.get("content-length", "")
    await run_in_threadpool(_check, service, most, int(announced[:20]) if announced.isdigit() else 0)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(service, size)
        yield chunk


def _room_of_trial(service: Service, place: Place) -> float:
    """Return the bytes that a file may have beside the others of its folder."""
    limit = service.settings.trial_disk
    if limit is None:
        return float("inf")
    try:
        with os.scandir(service.core.store.root / place.folder) as entries:
            files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
            others = [file for file in files if file.name not in (LOG, place.name)]
            return limit - sum(file.stat(follow_symlinks=False).st_size for file in others)
    except OSError:  # it has none yet
        return limit


def _check(service: Service, most: float, size: int) -> None:
    root: Path = service.core.store.root
    disk = os.statvfs(root)
    if size > most or size > disk.f_blocks * disk.f_frsize:
        raise _too_large(service, size)
    if size > free_bytes(root):
        text = f"The file of {told(size)} does not fit: the store {root} lies on {disk_of(root)}"
        raise Unavailable(f"{text}. Free some space there.", retry_after=RETRY_SECONDS)


def _too_large(service: Service, size: int) -> TooLarge:
    limit = service.settings.trial_disk
    kept = "" if limit is None else f", and {told(limit)} is what a trial's files may take (LUTHIER_TRIAL_DISK)"
    return TooLarge(f"The file is too large: it has {told(size)} or more{kept}.")
