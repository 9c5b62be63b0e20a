"""A row's mark: a short digest of its content, by which it is known again in other files and in another order."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.trials.data.media_folders import content_digest

MARK_BYTES = 8


def mark(content: Any, key: str = "") -> bytes:
    """A digest of what JSON can hold, or of files and bytes by their content; the same content has others by `key`."""
    text = json.dumps(content, default=content_digest).encode()
    return hashlib.blake2b(text, digest_size=MARK_BYTES, key=hashlib.sha256(key.encode()).digest()).digest()


def marks(columns: Mapping[str, Sequence[Any]], key: str = "") -> list[bytes]:
    """The mark of each row, role -> values: of its text, words, image or sound, not of its label."""
    return [mark(row, key) for row in zip(*(columns[role] for role in sorted(columns)), strict=True)]


def packed(found: Sequence[bytes]) -> bytes:
    """The distinct marks, one after another, ascending."""
    return b"".join(sorted(set(found)))


def unpacked(content: bytes) -> set[bytes]:
    return {content[i : i + MARK_BYTES] for i in range(0, len(content), MARK_BYTES)}
