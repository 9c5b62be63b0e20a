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
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from luthier.studies.damage import damage
from luthier.studies.uploads import FORMATS

MAX_FILES = 200_000  # COCO has 123,000
MAX_DEPTH = 16  # folders in a file's path
MAX_RATIO = 100  # unpacked bytes to packed ones: text shrinks to a tenth, a table of repeated words to a fiftieth
SMALL_BYTES = 256 * 2**20  # unpacked, which any archive may have
MAX_READ_BYTES = 64 * 2**20  # at once: zipfile reads the list of all files whole, as large as the archive says
CHUNK_BYTES = 2**20
HEADER_BYTES = 4096  # of a file in a tar, and what fills its last block, at most
_NAME_BYTES = 255  # the longest name that Linux's disks take
_LEFT_OUT = re.compile(r"(.*/)?(__MACOSX(/.*)?|\.DS_Store|Thumbs\.db|desktop\.ini|\._[^/]*)", re.IGNORECASE)
_MEANT = re.compile(r"(train|val|dev|test|data$|image|mask|annot|img|audio)", re.IGNORECASE)
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, ValueError),
    *(NotImplementedError, RuntimeError, UnicodeError),  # of zipfile: a method that it lacks, a password
)


class DataArchiveError(Exception):
    """The archive is damaged, unsafe or too large; the message is a sentence with the cure."""


class DataTooLarge(DataArchiveError):
    """It unpacks to more than is allowed."""


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
    out = _Unpacked(target, min(most_bytes, max(SMALL_BYTES, MAX_RATIO * packed_bytes)), most_bytes)
    try:
        with archive.open("rb") as packed:
            if kind == "zip":
                _unpack_zip(packed, out)
            else:
                with _unpacked_tar(packed, kind.removeprefix("tar").removeprefix("."), out) as tar:
                    _unpack_tar(tar, out)
    except _DAMAGE as error:
        raise DataArchiveError(f"The archive cannot be unpacked: {damage(error)}. Pack it anew.") from error
    if not out.files:
        raise DataArchiveError("The archive holds no files; pack the folder with the data.")
    _take_off_wrapper(target)


class _Unpacked:
    """The files that were unpacked so far, and what else may come."""

    def __init__(self, target: Path, limit: int, most_bytes: int) -> None:
        self.target = target
        self.files = 0
        self.members = 0
        self.limit = limit
        self._most_bytes = most_bytes
        self._bytes = 0
        self._names: dict[str, str] = {}  # as a disk without capitals and with one Unicode form has them -> as they are

    def path_of(self, name: str) -> Path | None:
        """Return where a member goes; None for one that is left out. Raises DataArchiveError."""
        shown = repr(name[:200])
        self.members += 1
        if self.members > MAX_FILES:
            raise DataTooLarge(f"The archive holds more than {MAX_FILES:,} files. Pack them as parquet, or in parts.")
        if _LEFT_OUT.fullmatch(name):
            return None
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
            raise DataArchiveError(f"The archive is unsafe: {shown} lies outside of it. Pack it with relative paths.")
        if "\\" in name:
            raise DataArchiveError(f"{shown} has a \\ in its name; pack the archive with / between folders.")
        if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name) or any(
            len(part.encode()) > _NAME_BYTES for part in path.parts
        ):
            raise DataArchiveError(f"{shown} is no name for a file: it is too long, or not readable text. Rename it.")
        if len(path.parts) > MAX_DEPTH:
            raise DataArchiveError(f"{shown} lies more than {MAX_DEPTH} folders deep. Pack it flatter.")
        self._check_collisions(path)
        return self.target / path

    def _check_collisions(self, path: PurePosixPath) -> None:
        parts = ""
        for part in path.parts:
            parts = f"{parts}/{part}" if parts else part
            first = self._names.setdefault(unicodedata.normalize("NFC", parts).casefold(), parts)
            if first != parts:
                text = f"The archive holds {first[:200]!r} and {parts[:200]!r}, which are one name on some disks. "
                raise DataArchiveError(text + "Rename one of them.")

    def make_folder(self, path: Path) -> None:
        """Make a folder, where a file has not its name. Raises DataArchiveError."""
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            self._refuse_twice(path)

    def write(self, path: Path, source: IO[bytes]) -> None:
        """Write a file, as long as no limit is passed. Raises DataArchiveError."""
        self.files += 1
        self.make_folder(path.parent)
        try:
            file = path.open("xb")
        except (FileExistsError, IsADirectoryError):
            self._refuse_twice(path)
        with file:
            while chunk := source.read(CHUNK_BYTES):
                self.count(len(chunk))
                file.write(chunk)

    def count(self, size: int) -> None:
        """Count unpacked bytes. Raises DataTooLarge beyond the limit."""
        self._bytes += size
        self.check(self._bytes)

    def check(self, size: int) -> None:
        """Raise DataTooLarge for so many unpacked bytes, where they are too many."""
        if size > self.limit:
            why = f"{self._most_bytes:,} bytes, the limit of this service (LUTHIER_DATASET_MAX_BYTES)"
            if self.limit < self._most_bytes:
                why = f"{MAX_RATIO} times its size, as no data does. Upload the files in another form"
            raise DataTooLarge(f"The archive unpacks to more than {why}.")

    def _refuse_twice(self, path: Path) -> None:
        name = str(path.relative_to(self.target))
        raise DataArchiveError(f"The archive holds {name[:200]!r} twice, or as a file and as a folder. Pack it anew.")


class Bounded:
    """A file whose reads are bounded, and whose end too, where a limit is given."""

    def __init__(self, file: Any, check: Callable[[int], None] | None = None) -> None:
        self._file, self._check = file, check

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes. Raises DataArchiveError for more than is read at once."""
        content = bytes(self._file.read(size if 0 <= size <= MAX_READ_BYTES else MAX_READ_BYTES + 1))
        if len(content) > MAX_READ_BYTES:
            raise DataArchiveError("The archive is unsafe: its list of files, or a name in it, is far too long.")
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte. Raises DataTooLarge beyond the limit."""
        if self._check is not None:
            self._check(offset)
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the place of the next byte."""
        return int(self._file.tell())

    def seekable(self) -> bool:
        """Return True: zipfile asks."""
        return True


def _unpack_zip(packed: IO[bytes], out: _Unpacked) -> None:
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
def _unpacked_tar(packed: IO[bytes], compression: str, out: _Unpacked) -> Iterator[tarfile.TarFile]:
    opener: dict[str, Callable[[IO[bytes]], Any]] = {
        "": lambda file: file,
        "gz": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
        "bz2": bz2.BZ2File,
        "xz": lzma.LZMAFile,
    }
    file = Bounded(opener[compression](packed), lambda place: out.check(place - HEADER_BYTES * (out.members + 3)))
    with tarfile.open(fileobj=file, mode="r:") as tar:  # type: ignore[call-overload]
        yield tar


def _unpack_tar(tar: tarfile.TarFile, out: _Unpacked) -> None:
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
