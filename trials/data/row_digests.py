"""A row's row_digest: a short digest of its content, by which it is known again in other files and in another order."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.trials.data.media_folders import content_digest

DIGEST_BYTES = 8


def row_digest(content: Any, key: str = "") -> bytes:
    """A digest of what JSON can hold, or of files and bytes by their content; the same content has others by `key`."""
    text = json.dumps(content, default=content_digest).encode()
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES, key=hashlib.sha256(key.encode()).digest()).digest()


def row_digests(columns: Mapping[str, Sequence[Any]], key: str = "") -> list[bytes]:
    """The row_digest of each row, role -> values: of its text, words, image or sound, not of its label."""
    return [row_digest(row, key) for row in zip(*(columns[role] for role in sorted(columns)), strict=True)]


def join_digests(found: Sequence[bytes]) -> bytes:
    """The distinct row_digests, one after another, ascending."""
    return b"".join(sorted(set(found)))


def split_digests(content: bytes) -> set[bytes]:
    return {content[i : i + DIGEST_BYTES] for i in range(0, len(content), DIGEST_BYTES)}
