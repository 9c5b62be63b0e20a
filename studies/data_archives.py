"""Unpack an archive of data, zip or tar, without trust in its content: for the service and the workers.

Only folders and regular files are unpacked, only inside the new folder, and only so many and so large that no small
archive fills the disk or the memory. Archives in an archive stay files. What systems add (`__MACOSX`) is left out.
`tarfile`'s filter `data` and `zipfile`'s own care are not enough: they let links through that stay inside, change
names silently, and limit nothing. `archives.py` does the same for models, with their own limits.
"""

import bz2
import gzip
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from luthier.studies.damage import damage, is_of_archive
from luthier.studies.unpacked_folder import MAX_RATIO, Bounded, DataArchiveError, UnpackedFolder
from luthier.studies.uploads import FORMATS

SMALL_BYTES = 256 * 2**20  # unpacked, which any archive may have
HEADER_BYTES = 4096  # of a file in a tar, and what fills its last block, at most
_MEANT = re.compile(r"(train|val|dev|test|data$|image|mask|annot|img|audio)", re.IGNORECASE)
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, ValueError),
    *(NotImplementedError, RuntimeError, UnicodeError),  # of zipfile: a method that it lacks, a password
)


def unpack_data(archive: Path, kind: str, target: Path, most_bytes: int) -> None:
    """Unpack an archive into the new folder `target`; a folder around all of it is taken off.

    Args:
        archive: The file.
        kind: zip, tar, tar.gz, tar.bz2 or tar.xz.
        target: A folder that does not exist; its parent does. After an error it holds what was unpacked until then.
        most_bytes: What all files together may have.

    Raises:
        DataArchiveError: It is damaged, holds a link or a device, reaches outside, or two of its names are one on
            some disks.
        DataTooLarge: It holds more bytes or files than it may.
        OSError: The disk refuses a file.
    """
    target.mkdir()
    packed_bytes = archive.stat().st_size
    out = UnpackedFolder(target, min(most_bytes, max(SMALL_BYTES, MAX_RATIO * packed_bytes)), most_bytes)
    try:
        with archive.open("rb") as packed:
            if kind == "zip":
                _unpack_zip(packed, out)
            else:
                with _unpacked_tar(packed, kind.removeprefix("tar").removeprefix("."), out) as tar:
                    _unpack_tar(tar, out)
    except _DAMAGE as error:
        raise DataArchiveError(f"The archive cannot be unpacked: {damage(error)}. Pack it anew.") from error
    except OSError as error:
        if not is_of_archive(error):
            raise
        raise DataArchiveError(f"The archive cannot be unpacked: {damage(error)}. Pack it anew.") from error
    if not out.files:
        raise DataArchiveError("The archive holds no files; pack the folder with the data.")
    _take_off_wrapper(target)


def _unpack_zip(packed: IO[bytes], out: UnpackedFolder) -> None:
    with zipfile.ZipFile(Bounded(packed)) as archive:
        for member in archive.infolist():
            path = out.path_of(member.orig_filename)
            if path is None:
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _no_file(member.orig_filename)
            if member.flag_bits & 1:
                raise DataArchiveError("The archive has a password; pack it without one.")
            if member.is_dir():
                out.make_folder(path)
                continue
            with archive.open(member) as source:
                out.write(path, source)


@contextmanager
def _unpacked_tar(packed: IO[bytes], compression: str, out: UnpackedFolder) -> Iterator[tarfile.TarFile]:
    opener: dict[str, Callable[[IO[bytes]], Any]] = {
        "": lambda file: file,
        "gz": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
        "bz2": bz2.BZ2File,
        "xz": lzma.LZMAFile,
    }
    file = Bounded(opener[compression](packed), lambda place: out.check(place - HEADER_BYTES * (out.members + 3)))
    with tarfile.open(fileobj=file, mode="r:") as tar:  # type: ignore[call-overload]
        yield tar


def _unpack_tar(tar: tarfile.TarFile, out: UnpackedFolder) -> None:
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # else each header stays in memory
        path = out.path_of(member.name)
        if path is None:
            continue
        if member.isdir():
            out.make_folder(path)
            continue
        source = tar.extractfile(member) if member.isreg() and not member.issparse() else None
        if source is None:
            raise _no_file(member.name)
        with source:
            out.write(path, source)


def _no_file(name: str) -> DataArchiveError:
    text = f"The archive is unsafe: {name[:200]!r} is a link or a device. Pack the files themselves (tar -h)."
    return DataArchiveError(text)


def _take_off_wrapper(target: Path) -> None:
    """Move everything up, as long as it lies in one folder whose name tells nothing of it: pets.zip has pets/cat/."""
    while True:
        children = list(target.iterdir())
        if len(children) != 1 or not children[0].is_dir() or _MEANT.match(children[0].name):
            return
        inner = list(children[0].iterdir())
        if not any(child.is_dir() or _is_table(child.name) for child in inner):
            return  # a class with its images
        wrapper = children[0].rename(target / f".{os.getpid()}.wrapper")
        for child in inner:
            (wrapper / child.name).rename(target / child.name)
        wrapper.rmdir()


def _is_table(name: str) -> bool:
    return any(part in FORMATS for part in name.lower().split(".")[1:])
