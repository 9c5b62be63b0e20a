"""Sounds that are shorter than their files say: broken downloads, recordings that were not ended.

libsndfile reads what there is without a word. `data.media` asks `shortfall` when it tries a study's sounds.
"""

import re
from pathlib import Path
from typing import Any

_CHUNKS = re.compile(r"^\s*(\S[^:\n]*?)\s*: (\d+) \(should be (\d+)\)$", re.MULTILINE)
_DATA = re.compile(r"^data : (\d+)$", re.MULTILINE)
_WHOLE_FILE = frozenset(
    {"RIFF", "FORM", "riff", "Riff size"}
)  # chunks around all others; writers miscount them a little
_MISCOUNTED = 8  # bytes
_STREAMED = 0x7FFF_F000  # a length from here on says that the writer did not know it
_PAGE = 27 + 255 + 255 * 255  # the largest page of an Ogg file, in bytes
_FRAME_HEADER = 40  # bytes of an mp3's first frame before Xing's header, at most
_MP3_FRAMES = 2 * 1152  # samples that decoders of mp3 may count differently


def shortfall(file: Any, item: Path | bytes) -> str | None:
    """Return the end of a sentence that says what a sound lacks by its own header, or None.

    Args:
        file: The open `soundfile.SoundFile`.
        item: The file that it reads, or the file's bytes.
    """
    info = str(file.extra_info)  # libsndfile's own account of the header
    for name, said, there in _CHUNKS.findall(info):
        slack = _MISCOUNTED if name in _WHOLE_FILE else 0
        if int(there) + slack < int(said) < _STREAMED:
            return f"is cut off: {int(there):,} of the {int(said):,} bytes that its header names are there"
    if "truncated file" in info:
        return "is cut off"
    data = _DATA.search(info)
    if data and "Unknown chunk marker" in info and 2 * int(data[1]) < (size := _size(item)):
        return f"has a wrong header: it names {int(data[1]):,} bytes of sound, and the file has {size:,}"
    if file.format == "MP3" and (said := _mp3_bytes(item)):
        return f"is cut off: it lacks {said:,} bytes that its header names"
    if file.format == "OGG" and (missing := _page_lacks(_tail(item))):
        return f"is cut off: its last page lacks {missing:,} bytes"
    return None


def decoded_shortfall(file: Any, samples: int) -> str | None:
    """Return the same for a sound that was decoded to its end, by the number of its samples."""
    slack = _MP3_FRAMES if file.format == "MP3" else 0
    if samples + slack < len(file):
        return f"is cut off: {samples:,} of the {len(file):,} samples that its header names are there"
    return None


def _size(item: Path | bytes) -> int:
    return len(item) if isinstance(item, bytes) else item.stat().st_size


def _tail(item: Path | bytes) -> bytes:
    if isinstance(item, bytes):
        return item[-_PAGE:]
    with item.open("rb") as stream:
        stream.seek(max(0, item.stat().st_size - _PAGE))
        return stream.read()


def _mp3_bytes(item: Path | bytes) -> int:
    """Return how many bytes an mp3 lacks by the header in its first frame (Xing's, where there is one)."""
    if isinstance(item, bytes):
        head = item[:_PAGE]
    else:
        with item.open("rb") as stream:
            head = stream.read(_PAGE)
    place = max(head.find(b"Xing\0\0\0"), head.find(b"Info\0\0\0"))
    if place < 0 or len(head) < place + 16:
        return 0
    flags = head[place + 7]
    if not flags & 2:  # it does not tell the size
        return 0
    start = place + (12 if flags & 1 else 8)
    missing = int.from_bytes(head[start : start + 4], "big") - (_size(item) - place)
    return missing if missing > _FRAME_HEADER else 0


def _page_lacks(tail: bytes) -> int:
    """Return how many bytes are missing from the last page of an Ogg file."""
    start = tail.rfind(b"OggS\0")
    if start < 0 or len(tail) < start + 27:
        return 1 if start >= 0 else 0
    segments = tail[start + 26]
    sizes = tail[start + 27 : start + 27 + segments]
    return max(0, segments - len(sizes)) + max(0, start + 27 + segments + sum(sizes) - len(tail))
