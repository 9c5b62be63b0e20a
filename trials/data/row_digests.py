"""Digests of rows by their content, equal for the same row in another file or order.

Stable splits order rows by them, a packed model keeps the digests of its training rows, and a comparison leaves those
rows out. They are 8 bytes long: enough to tell the rows of a data set apart, not to keep their content secret.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from luthier.studies.files import sha256_file

DIGEST_BYTES = 8


class Rewritten(bytes):
    """A file's bytes that were written anew: encoders differ, so its digest is that of what it holds.

    Attributes:
        digest: SHA-256 in hexadecimal.
    """

    digest: str

    @classmethod
    def of(cls, content: bytes, held: bytes) -> Self:
        """Return a file's content whose digest is that of other bytes, which say what it holds."""
        written = cls(content)
        written.digest = hashlib.sha256(held).hexdigest()
        return written


Digest = Callable[[Path | bytes], str]
"""A function that returns the digest of a file's content; a cached one reads each file once."""


def content_digest(value: Path | bytes) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    if isinstance(value, Rewritten):
        return value.digest
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return sha256_file(value)


def row_digest(content: Any, key: str = "", digest: Digest = content_digest) -> bytes:
    """Return the 8-byte keyed BLAKE2b digest of a JSON value; files (`Path`) and bytes count by their content."""
    text = json.dumps(content, default=digest).encode()
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES, key=hashlib.sha256(key.encode()).digest()).digest()


def row_digests(
    columns: Mapping[str, Iterable[Any]], key: str = "", digest: Digest = content_digest
) -> Iterator[bytes]:
    """Yield each row's digest: of its text, words, image or sound, not of its label.

    Args:
        columns: Role -> one value per row.
        key: Another key gives other digests.
        digest: Of the content of an image or sound.
    """
    for row in zip(*(columns[role] for role in sorted(columns)), strict=True):
        yield row_digest(row, key, digest)


def join_digests(digests: Iterable[bytes]) -> bytes:
    """Return the distinct digests one after another, ascending, as a file's content."""
    return b"".join(sorted(set(digests)))


def split_digests(content: bytes) -> set[bytes]:
    """Return the digests that `join_digests` joined."""
    return {content[i : i + DIGEST_BYTES] for i in range(0, len(content), DIGEST_BYTES)}
