"""Unpack a model's archive (.tar.gz) without trust in its content; for the client and the workers.

Only directories and regular files are unpacked, and only inside the new folder. tarfile's own `data` filter is not
enough: it came with Python 3.11.4 (Debian 12 has 3.11.2), and it lets links through that stay inside.
"""

import tarfile
import zlib
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath
from shutil import copyfileobj

# Errors of a damaged archive, and of two members that claim the same path. OSErrors of the disk are not here.
_DAMAGE = (
    *(tarfile.TarError, BadGzipFile, zlib.error, EOFError, ValueError),
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
        ArchiveError: the archive is damaged, or a member is a link, a device, or lies outside (absolute path, `..`).
        FileExistsError: `target` exists.
        OSError: `archive` cannot be read, or the disk is full.
    """
    target.mkdir()
    with archive.open("rb") as packed:
        try:
            with tarfile.open(fileobj=packed, mode="r:gz") as tar:
                for member in tar:
                    _extract(tar, member, target)
        except _DAMAGE as error:
            raise ArchiveError(f"The model's archive cannot be unpacked: {error}.") from error


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise ArchiveError(f"The model's archive is unsafe: {member.name!r} lies outside of it.")
    if member.isdir():
        (target / path).mkdir(parents=True, exist_ok=True)
        return
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise ArchiveError(f"The model's archive is unsafe: {member.name!r} is not a regular file.")
    (target / path).parent.mkdir(parents=True, exist_ok=True)
    with source, (target / path).open("xb") as file:
        copyfileobj(source, file)
