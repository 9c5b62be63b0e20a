"""Texts in which nothing can be seen: of characters alone that have no width, or mark how others are written.

`text_targets` refuses them where texts are learned, as it refuses empty ones. Nothing is taken out of a text.
"""

import unicodedata
from collections.abc import Iterable
from typing import Any

from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

_BLANK = frozenset(
    "\N{HANGUL FILLER}\N{HALFWIDTH HANGUL FILLER}\N{HANGUL CHOSEONG FILLER}\N{HANGUL JUNGSEONG FILLER}"
    "\N{COMBINING GRAPHEME JOINER}\N{BRAILLE PATTERN BLANK}\N{MONGOLIAN VOWEL SEPARATOR}"
)
"""Characters that show nothing, and that Unicode takes for letters, symbols or marks."""
_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0), range(0x180B, 0x180E))
"""Marks that choose how the character before them is written."""


def is_unseen(text: str) -> bool:
    """Return whether a text has characters, and none that can be seen; spaces alone are an empty text, no such one."""
    return bool(text.strip()) and not text.isascii() and all(map(_is_unseen, text))


def _is_unseen(letter: str) -> bool:
    return (
        letter.isspace()
        or letter in _BLANK
        or unicodedata.category(letter) in ("Cf", "Cc")
        or any(ord(letter) in selectors for selectors in _SELECTORS)
    )


def refuse_unseen(table: Table, column: str, values: Iterable[Any]) -> None:
    """Check the texts of a column, and those of the messages in it.

    Args:
        table: For messages.
        column: Likewise.
        values: The text, or the messages, of each row.

    Raises:
        BadData: Nothing can be seen in one; the sentence names file, row, character and cure.
    """
    for row, value in enumerate(values):
        for place, text in _texts(value):
            if is_unseen(text):
                letter = next(letter for letter in text if not letter.isspace())
                name = unicodedata.name(letter, "no name").lower()
                said = f"holds nothing that can be seen{place}, only {letter!a} ({name}); fill it in or remove the row."
                raise BadData(f"{table.name}, {table.where(row)}: column {column!r} {said}", *table.path)


def _texts(value: Any) -> list[tuple[str, str]]:
    """Return where in a cell texts are, in words, and the texts; those of messages where it is a list of them."""
    if isinstance(value, str):
        return [("", value)]
    messages = value if isinstance(value, list) else ()
    contents = [message.get("content") if isinstance(message, dict) else None for message in messages]
    return [(f" in message {i}", text) for i, text in enumerate(contents, 1) if isinstance(text, str)]
