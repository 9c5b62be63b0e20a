"""A folder that an archive of data is unpacked into, within limits: names, depth, files and bytes.

`data_archives.py` asks it where each member goes, and writes through it. It trusts no name and no size that an archive
states.
"""

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

MAX_FILES = 200_000  # COCO has 123,000
MAX_DEPTH = 16  # folders in a file's path
MAX_RATIO = 100  # unpacked bytes to packed ones: text shrinks to a tenth, a table of repeated words to a fiftieth
MAX_READ_BYTES = 64 * 2**20  # at once: zipfile reads the list of all files whole, as large as the archive says
CHUNK_BYTES = 2**20
_NAME_BYTES = 255  # the longest name that Linux's disks take
_LEFT_OUT = re.compile(r"(.*/)?(__MACOSX(/.*)?|\.DS_Store|Thumbs\.db|desktop\.ini|\._[^/]*)", re.IGNORECASE)


class DataArchiveError(Exception):
    """The archive is damaged, unsafe or too large; the message is a sentence with the cure."""


class DataTooLarge(DataArchiveError):
    """It unpacks to more than is allowed."""


class UnpackedFolder:
    """The files that were unpacked so far, and what else may come.

    Attributes:
        target: The folder.
        files: Those that were written.
        members: Entries of the archive that were seen, folders among them.
        limit: Bytes that all files together may have.
    """

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
        if (
            not name
            or any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name)
            or any(len(part.encode()) > _NAME_BYTES for part in path.parts)
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
