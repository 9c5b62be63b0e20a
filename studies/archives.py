"""Unpack a model's archive (.tar.gz) without trust in its content; for the client and the workers.

Only directories and regular files are unpacked, only inside the new folder, and only so many and so large that no small
archive fills the disk or the memory. tarfile's own `data` filter is not enough: it came with Python 3.11.4 (Debian 12
has 3.11.2), it lets links through that stay inside, and it limits nothing.
"""

import gzip
import os
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import BinaryIO

from luthier.studies.damage import damage, is_of_archive

MAX_MEMBERS = 10_000  # files and folders; a model has some ten
MAX_DEPTH = 16  # folders in a member's path
MAX_RATIO = 20  # unpacked bytes to packed ones: weights hardly shrink, texts to a fifth
SMALL_BYTES = 256 * 2**20  # unpacked, which any archive may have: gzip shrinks zeros to a thousandth
MAX_READ_BYTES = 2**20  # at once; tarfile reads a member's header whole, as large as the archive says
# Errors of a damaged archive, and of two members that claim the same path. OSErrors of the disk are not here.
_DAMAGE = (
    *(tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError),
    *(FileExistsError, NotADirectoryError, IsADirectoryError),
)


class ArchiveError(Exception):
    """The archive is damaged, or holds something that no model needs; the message is one sentence."""


def unpack_archive(archive: Path, target: Path) -> None:
    """Unpack a .tar.gz of regular files into the new folder `target`; nothing is written outside of it.

    Args:
        archive: the packed file.
        target: a folder that does not exist; its parent does. After an error it holds what was unpacked until then.

    Raises:
        ArchiveError: the archive is damaged, holds more than its limits, or a member is a link, a device, or lies
            outside (absolute path, `..`).
        FileExistsError: `target` exists.
        OSError: `archive` cannot be read, or the disk is full.
    """
    target.mkdir()
    with archive.open("rb") as packed:
        limit = max(SMALL_BYTES, MAX_RATIO * os.fstat(packed.fileno()).st_size)
        try:
            with _Limited(packed, limit) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as tar:
                for number, member in enumerate(tar):
                    if number >= MAX_MEMBERS:
                        raise ArchiveError(f"The model's archive is unsafe: it holds more than {MAX_MEMBERS} files.")
                    _extract(tar, member, target)
        except _DAMAGE as error:
            raise ArchiveError(f"The model's archive cannot be unpacked: {damage(error)}.") from error
        except OSError as error:
            if not is_of_archive(error):
                raise
            raise ArchiveError(f"The model's archive cannot be unpacked: {damage(error)}.") from error


class _Limited(gzip.GzipFile):
    """The unpacked bytes of an archive, refused beyond a limit; also those that a member only claims to have."""

    def __init__(self, packed: object, limit: int) -> None:
        super().__init__(fileobj=packed, mode="rb")  # type: ignore[call-overload]
        self._limit = limit

    def read(self, size: int | None = -1) -> bytes:
        """Return at most `size` bytes. Raises ArchiveError beyond the limit, and for more than is read at once."""
        if size is None or not 0 <= size <= MAX_READ_BYTES:
            raise ArchiveError("The model's archive is unsafe: the name or header of a file in it is far too long.")
        self._check(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an unpacked byte. Raises ArchiveError beyond the limit."""
        self._check(offset)
        return super().seek(offset, whence)

    def _check(self, position: int) -> None:
        if position > self._limit + MAX_READ_BYTES:
            raise ArchiveError(
                f"The model's archive is unsafe: it unpacks to more than {MAX_RATIO} times its size "
                f"and {SMALL_BYTES // 2**20} MB."
            )


def read_member(packed: BinaryIO, name: str, most_bytes: int) -> bytes | None:
    """Return the content of a file of a model's archive, up to which it is unpacked in memory, piece by piece.

    Args:
        packed: the archive, open for reading at its start.
        name: the file's.
        most_bytes: what it may have.

    Raises:
        ArchiveError: the archive is damaged or unsafe.
    """
    limit = max(SMALL_BYTES, MAX_RATIO * os.fstat(packed.fileno()).st_size)
    try:
        with _Limited(packed, limit) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as tar:
            for number, member in enumerate(tar):
                if number >= MAX_MEMBERS:
                    break
                source = tar.extractfile(member) if member.name == name and member.isreg() else None
                if source is not None:
                    return source.read(most_bytes) if member.size <= most_bytes else None
    except _DAMAGE as error:
        raise ArchiveError(f"The model's archive cannot be unpacked: {damage(error)}.") from error
    return None


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or len(path.parts) > MAX_DEPTH:
        raise ArchiveError(f"The model's archive is unsafe: {member.name[:200]!r} lies outside of it, or too deep.")
    if member.isdir():
        (target / path).mkdir(parents=True, exist_ok=True)
        return
    source = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if source is None:
        raise ArchiveError(f"The model's archive is unsafe: {member.name[:200]!r} is not a regular file.")
    (target / path).parent.mkdir(parents=True, exist_ok=True)
    with source, (target / path).open("xb") as file:
        copyfileobj(source, file)
