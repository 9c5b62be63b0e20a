"""An archive that cannot be unpacked is told in words of ours, whatever its library raised."""

import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from luthier.studies.damage import damage

ZIP = io.BytesIO()
with zipfile.ZipFile(ZIP, "w") as packed:
    packed.writestr("rows.csv", b"text,label\n" * 20)
WHOLE = ZIP.getvalue()


def read_zip(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.read("rows.csv")


def read_tar(content: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        archive.getmembers()


def flagged(bit: int) -> bytes:
    """Return the zip with a flag set, in both places that say it."""
    at = WHOLE.rindex(b"PK\1\2")
    return WHOLE[:6] + bytes([bit]) + WHOLE[7 : at + 8] + bytes([bit]) + WHOLE[at + 9 :]


@pytest.mark.parametrize(
    ("read", "content", "said"),
    [
        (read_zip, b"no zip", "it is no zip, or its end is missing"),
        (read_zip, WHOLE[:-30], "it is no zip, or its end is missing"),
        (read_zip, WHOLE.replace(b"text,label", b"TEXT,label", 1), "the file 'rows.csv' in it is damaged"),
        (read_zip, flagged(1), "it has a password; pack it without one"),
        (read_tar, b"x" * 2000, "it is no tar archive, or is cut off or damaged"),
        (gzip.decompress, gzip.compress(b"x" * 99)[:-9], "it is cut off or damaged"),
        (gzip.decompress, b"no gzip", "it is cut off or damaged"),
        (lzma.decompress, b"no lzma", "it is cut off or damaged"),
    ],
)
def test_each_kind_of_damage_has_a_sentence(read: Callable[[bytes], object], content: bytes, said: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  each library has its own
        read(content)
    assert damage(caught.value) == said
