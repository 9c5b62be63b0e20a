"""Files of text as UTF-8, where their encoding is certain; else a sentence with the cause and a command.

The readers of csv, JSON and CoNLL call `read_text`. Compressed files are unpacked in memory, and UTF-16 and UTF-32 are
recognised by their marks. Older encodings are not guessed: a wrong guess would change words without a word.
"""

import bz2
import codecs
import gzip
import io
import lzma
import re
import shlex
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from luthier.studies.damage import damage
from luthier.trials.data.foreign_files import refuse_foreign
from luthier.trials.errors import BadData

MOST_UNPACKED = 8 << 30
"""Bytes that a compressed file may grow to; a few kilobytes can be packed so that they fill any memory."""
_CHUNK = 1 << 20
_ENDS = 1 << 16  # bytes by which a file of an unknown ending is looked at, at its beginning and its end
_PACKED: tuple[tuple[re.Pattern[bytes], Callable[[IO[bytes]], Any]], ...] = (
    (re.compile(rb"\x1f\x8b"), lambda stream: gzip.GzipFile(fileobj=stream)),
    (re.compile(rb"BZh[1-9]1AY&SY"), bz2.BZ2File),
    (re.compile(rb"\xfd7zXZ\0"), lzma.LZMAFile),
)
_MARKS: tuple[tuple[bytes, str], ...] = (  # the longer ones first: that of UTF-32 starts with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NOT_WINDOWS = re.compile(  # bytes without a meaning in Windows-1252; with one that is inside no word; capitals in one
    rb"[\x81\x8d\x8f\x90\x9d]|[A-Za-z][\x80\x82-\x84\x86-\x89\x8b\x91\x93-\x95\x98\x99\x9b][a-z]"
    rb"|[a-z][\x8a\x8c\x8e\x9f][a-z]"
)
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True)
class TextFile:
    """The text of a file.

    Attributes:
        name: The file as the user wrote it, for error messages.
        path: The spec's path that names it.
        data: The text as UTF-8, without a mark at its start, NUL characters or broken characters.
    """

    name: str
    path: tuple[str, ...]
    data: bytes

    def text(self) -> str:
        """Return the whole text, its line ends as they are."""
        return self.data.decode()

    def lines(self) -> Iterator[str]:
        r"""Yield each line with its end, which is \n, \r\n or \r; no other character ends a line."""
        return io.TextIOWrapper(io.BytesIO(self.data), "utf-8", newline="")

    def line_of(self, offset: int) -> int:
        r"""Return the number of the line, from 1, that holds the byte at `offset`."""
        return self.data.count(b"\n", 0, offset) + 1

    def refuse(self, text: str) -> BadData:
        """Return the error that says `text` of the file."""
        return BadData(f"{self.name}{text}", *self.path)


def read_text(file: Path, name: str, path: tuple[str, ...]) -> TextFile:
    """Read a file of text.

    Args:
        file: The resolved file.
        name: The file as the user wrote it, for error messages.
        path: The spec's path that names it.

    Raises:
        BadData: It is no text, holds NUL, is in an encoding that is not certain, or was encoded twice.
    """
    data = _unpacked(file.read_bytes(), name, path)
    refuse_foreign(data, name, path)
    found = TextFile(name, path, _as_utf8(data, name, path))
    nul = found.data.find(b"\0")
    if nul >= 0:
        raise found.refuse(f" holds a NUL byte at offset {nul}, line {found.line_of(nul)}; remove it.")
    if not found.data.isascii():
        _refuse_twice_encoded(found)
    return found


def _unpacked(data: bytes, name: str, path: tuple[str, ...]) -> bytes:
    """Return what a compressed file holds, or other data as they are. Raises BadData."""
    unpack = next((opened for start, opened in _PACKED if start.match(data)), None)
    if unpack is None:
        return data
    parts = bytearray()
    try:
        with unpack(io.BytesIO(data)) as stream:
            while part := stream.read(_CHUNK):
                parts += part
                if len(parts) > MOST_UNPACKED:
                    raise BadData(f"{name} unpacks to more than {MOST_UNPACKED:,} bytes; unpack it yourself.", *path)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise BadData(f"{name} cannot be unpacked: {damage(error)}; fetch it again.", *path) from None
    if any(start.match(parts) for start, _ in _PACKED):
        raise BadData(f"{name} is compressed twice; unpack it once, and give the result.", *path)
    return bytes(parts)


def first_bytes(file: Path) -> bytes:
    """Return the beginning and the end of a file's content, unpacked as far as it is compressed. Raises OSError."""
    with file.open("rb") as stream:
        data = stream.read(_ENDS)
        unpack = next((opened for start, opened in _PACKED if start.match(data)), None)
        if unpack is None:
            stream.seek(max(len(data), file.stat().st_size - _ENDS))
            return data + stream.read()
    try:
        with unpack(io.BytesIO(data)) as stream:
            return bytes(stream.read1(_ENDS))
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return data


def _as_utf8(data: bytes, name: str, path: tuple[str, ...]) -> bytes:
    """Return text as UTF-8 without a mark. Raises BadData where its encoding is not certain."""
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None) or _wide(data)
    if encoding is not None:
        try:
            return data.decode(encoding).lstrip("\ufeff").encode()
        except UnicodeError as error:
            raise BadData(f"{name} is {encoding.upper()}, but broken: {error}. Save it as UTF-8.", *path) from None
    data = data.removeprefix(codecs.BOM_UTF8).removeprefix(codecs.BOM_UTF8)  # two where a file was saved with it twice
    if not data.isascii():
        fault = _first_fault(data)
        if fault is not None:
            raise BadData(f"{name} is not UTF-8: {_cause(data, *fault, name)}", *path)
    return data


def _wide(data: bytes) -> str | None:
    """Return the encoding of UTF-16 without a mark: text whose every second byte is mostly NUL, and no other is."""
    sample = data[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if len(data) % 2 or min(even, odd) > 0 or max(even, odd) * 4 <= len(sample):
        return None
    return "utf-16-le" if odd else "utf-16-be"


def _first_fault(data: bytes) -> tuple[int, bool] | None:
    """Return the offset of the first byte that is not UTF-8, and whether the data only end too early; None if none."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _CHUNK):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(data[start : start + _CHUNK])
        except UnicodeDecodeError as error:
            return start - pending + error.start, False
    pending = len(decoder.getstate()[0])
    return (len(data) - pending, True) if pending else None


def _cause(data: bytes, offset: int, cut: bool, name: str) -> str:
    """Return the end of a sentence that says where text stops to be UTF-8, why, and what mends it."""
    line = data.count(b"\n", 0, offset) + 1
    place = f"byte 0x{data[offset]:02x} at offset {offset}, line {line}."
    if cut:
        return f"{place} The file ends within a character, so it was cut; fetch it again, or save it as UTF-8."
    if not data[:offset].isascii():
        return f"{place} All before it is UTF-8, so that line is damaged: repair it, and save it as UTF-8."
    runs = _BEYOND_ASCII.findall(data, offset, offset + _CHUNK)
    if sum(map(len, runs)) < 1.5 * len(runs):  # an accent here and there: a western language
        label, programs = _western(data, b"".join(runs))
        return (
            f"{place} It is likely {label}, as {programs} save files. Save it as UTF-8: "
            f"{_iconv(label, 'UTF-8', name, 'utf8')}."
        )
    command = _iconv("ENCODING", "UTF-8", name, "utf8")
    return (
        f"{place} It is likely an older encoding, such as WINDOWS-1251, SHIFT_JIS or GB18030; find out which, and save "
        f"it as UTF-8: {command}."
    )


def _western(data: bytes, accents: bytes) -> tuple[str, str]:
    """Return the likely encoding of a western text, and the programs that use it.

    Args:
        data: the text.
        accents: its bytes beyond ASCII, or the first of them.
    """
    if not _NOT_WINDOWS.search(data):
        return "WINDOWS-1252", "Excel and older programs"
    small = {name: sum(map(str.islower, accents.decode(name))) for name in ("cp850", "mac_roman")}
    if small["mac_roman"] > small["cp850"]:
        return "MACINTOSH", "Excel and older programs on a Mac"
    return "CP850", 'MS-DOS and Excel\'s format "CSV (MS-DOS)"'


def _iconv(source: str, target: str, name: str, ending: str) -> str:
    """Return the command that writes a file anew in another encoding."""
    file = Path(name)
    new = str(file.with_name(f"{file.stem}-{ending}{file.suffix}"))
    return f"iconv -f {source} -t {target} {shlex.quote(name)} > {shlex.quote(new)}"


_ONCE: Mapping[str, str] = {"cp1252": "WINDOWS-1252", "latin-1": "ISO-8859-1"}


def _refuse_twice_encoded(file: TextFile) -> None:
    """Raise BadData where all of a file's text beyond ASCII is UTF-8 that was read as a western encoding, and saved."""
    found = _BEYOND_ASCII.search(file.data)
    assert found
    first = found[0].decode()
    for encoding, label in _ONCE.items():
        try:
            meant = first.encode(encoding).decode()
            file.text().encode(encoding).decode()
        except UnicodeError:
            continue
        raise file.refuse(
            f" was encoded twice: line {file.line_of(found.start())} holds {first!r} where {meant!r} was meant. "
            f"Mend it: {_iconv('UTF-8', label, file.name, 'mended')}."
        )
