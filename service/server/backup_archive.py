"""The forms of a backup: a folder, or one .tar file. Each is written whole under a name of its own, then renamed.

`backup.py` writes them, `restore.py` reads them. Both hold `manifest.json`, the database, and files under `store/` and
`data/`. A file that has two names is stored once.
"""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from pydantic import BaseModel

from luthier.studies.files import HashingWriter, sync_descriptor

MANIFEST, DATABASE, STORE, DATA = "manifest.json", "luthier.db", "store", "data"
CHUNK_BYTES = 2**20


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


class Writer(Protocol):
    """What takes the files of a backup."""

    def add(self, name: str, path: Path, inode: int) -> BackedUp:
        """Copy a file; `inode` tells which one it is, so that further names of it cost nothing."""

    def add_text(self, name: str, text: str) -> None:
        """Write a small file."""


class FolderWriter:
    """A backup as a folder."""

    def __init__(self, root: Path) -> None:
        """Write below `root`."""
        self._root = root
        self._first: dict[int, tuple[Path, BackedUp]] = {}

    def add(self, name: str, path: Path, inode: int) -> BackedUp:
        """Copy a file, or link it to the copy of its other name."""
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        first = self._first.get(inode)
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
        self._first[inode] = (target, done)
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
        self._first: dict[int, BackedUp] = {}

    def add(self, name: str, path: Path, inode: int) -> BackedUp:
        """Add a file, or a link to its other name."""
        entry = tarfile.TarInfo(name)
        entry.mode = 0o600
        first = self._first.get(inode)
        if first is not None:
            entry.type, entry.linkname = tarfile.LNKTYPE, first.path
            self._tar.addfile(entry)
            return first.model_copy(update={"path": name})
        with path.open("rb") as file:
            entry.size = os.fstat(file.fileno()).st_size
            reader = _HashingReader(file)
            self._tar.addfile(entry, reader)
        done = BackedUp(path=name, bytes=entry.size, sha256=reader.digest.hexdigest())
        self._first[inode] = done
        return done

    def add_text(self, name: str, text: str) -> None:
        """Add a small file."""
        content = text.encode()
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o600
        self._tar.addfile(entry, io.BytesIO(content))


@contextmanager
def writing(target: Path) -> Iterator[Writer]:
    """Write a backup that is whole at `target` once the block has ended, and not there after an error. Raises OSError.

    A name that ends in .tar is a file, any other a folder.
    """
    part = target.with_name(f".{target.name}.part")
    _remove(part)
    try:
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
        part.rename(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            sync_descriptor(folder)
        finally:
            os.close(folder)
    finally:
        _remove(part)


def unpacked(source: Path, into: Path) -> Path:
    """Return the folder of a backup; a .tar is unpacked into the empty folder `into`. Raises OSError, TarError."""
    if source.is_dir():
        return source
    with tarfile.open(source, "r:") as tar:
        tar.extractall(into, filter="data")
    return into


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
