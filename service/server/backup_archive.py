"""The forms of a backup: a folder, or one .tar file. Each is written whole under a name of its own, then renamed.

`backup.py` writes them, `restore.py` reads them. Both hold `manifest.json`, the database, and files under `store/` and
`data/`. A file that has two names is stored once. Each backup has a locked folder beside its target until it ends; what
a killed one left is removed by the next.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from pydantic import BaseModel

from luthier.studies.files import HashingWriter, sync_descriptor

MANIFEST, DATABASE, STORE, DATA = "manifest.json", "luthier.db", "store", "data"
CHUNK_BYTES = 2**20
WORKPLACE = ".luthier-backup"  # how the name of a folder ends in which a backup is written
YOUNG_SECONDS = 60.0  # a workplace is locked long before it is so old


class BackedUp(BaseModel):
    """A file of a backup."""

    path: str
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a backup holds.

    Attributes:
        luthier: the version that made it.
        created_at: RFC 3339, in UTC.
        files: all files but this one.
    """

    luthier: str
    created_at: str
    files: list[BackedUp]


Identity = tuple[int, int]  # of a file: its device and its inode, as two disks may have files of one inode


def identity_of(status: os.stat_result) -> Identity:
    """Return which file a status is of."""
    return status.st_dev, status.st_ino


class Writer(Protocol):
    """What takes the files of a backup."""

    def add(self, name: str, path: Path, identity: Identity) -> BackedUp:
        """Copy a file; further names of the same one cost nothing."""

    def add_text(self, name: str, text: str) -> None:
        """Write a small file."""


class FolderWriter:
    """A backup as a folder."""

    def __init__(self, root: Path) -> None:
        """Write below `root`."""
        self._root = root
        self._first: dict[Identity, tuple[Path, BackedUp]] = {}

    def add(self, name: str, path: Path, identity: Identity) -> BackedUp:
        """Copy a file, or link it to the copy of its other name."""
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        first = self._first.get(identity)
        if first is not None:
            os.link(first[0], target)
            return first[1].model_copy(update={"path": name})
        with path.open("rb") as source, target.open("xb") as file:
            writer = HashingWriter(file)
            while chunk := source.read(CHUNK_BYTES):
                writer.write(chunk)
            file.flush()
            sync_descriptor(file.fileno())
            done = BackedUp(path=name, bytes=file.tell(), sha256=writer.sha256)
        self._first[identity] = (target, done)
        return done

    def add_text(self, name: str, text: str) -> None:
        """Write a small file."""
        (self._root / name).write_text(text)


class _HashingReader:
    """A file whose SHA-256 is computed while tarfile reads it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self.digest.update(part)
        return part


class TarWriter:
    """A backup as one .tar file."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        """Write to an open archive."""
        self._tar = tar
        self._first: dict[Identity, BackedUp] = {}

    def add(self, name: str, path: Path, identity: Identity) -> BackedUp:
        """Add a file, or a link to its other name."""
        entry = tarfile.TarInfo(name)
        entry.mode = 0o600
        first = self._first.get(identity)
        if first is not None:
            entry.type, entry.linkname = tarfile.LNKTYPE, first.path
            self._tar.addfile(entry)
            return first.model_copy(update={"path": name})
        with path.open("rb") as file:
            entry.size = os.fstat(file.fileno()).st_size
            reader = _HashingReader(file)
            self._tar.addfile(entry, reader)
        done = BackedUp(path=name, bytes=entry.size, sha256=reader.digest.hexdigest())
        self._first[identity] = done
        return done

    def add_text(self, name: str, text: str) -> None:
        """Add a small file."""
        content = text.encode()
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o600
        self._tar.addfile(entry, io.BytesIO(content))


@contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """Give a folder on the disk of a backup's target, which nobody else uses and which goes. Raises OSError."""
    for left in target.parent.glob(f".*{WORKPLACE}"):
        _sweep(left)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=WORKPLACE))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: nobody can tell that it is in use, or not
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove the workplace of a backup that was killed."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if time.time() - os.fstat(descriptor).st_mtime > YOUNG_SECONDS:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


@contextmanager
def writing(target: Path, beside: Path) -> Iterator[Writer]:
    """Write a backup that is whole at `target` once the block has ended, and not there after an error.

    Args:
        target: a name that ends in .tar is a file, any other a folder.
        beside: its workplace.

    Raises:
        OSError: a disk refuses something, or another backup has taken the name meanwhile.
    """
    part = beside / "whole"
    if target.suffix == ".tar":
        with part.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                yield TarWriter(tar)
            file.flush()
            sync_descriptor(file.fileno())
    else:
        part.mkdir(mode=0o700)
        yield FolderWriter(part)
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    part.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        sync_descriptor(folder)
    finally:
        os.close(folder)


def unpacked(source: Path, into: Path) -> Path:
    """Return the folder of a backup; a .tar is unpacked into the empty folder `into`. Raises OSError, TarError."""
    if source.is_dir():
        return source
    with tarfile.open(source, "r:") as tar:
        tar.extractall(into, filter="data")
    return into
