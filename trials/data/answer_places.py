"""The place of an answer in its context: checked, and mended where it is certain.

`data.answer_targets` asks for each answer. A place is certain where the text stands at it, where it does so once the
place is counted as another program counts (bytes, UTF-16, other line ends, composed letters, one too few or too many,
words), or where the text occurs once, if need be with other blanks, capitals or accents of another Unicode form.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

SHIFTS = (1, 2)
"""How many characters a place may be off. (The first SQuAD baselines looked as far before a place.)"""
_LONGEST_PATTERN = 10_000  # characters of an answer that is also looked for with other blanks and capitals
ELSEWHERE = "it stands elsewhere, once"
WORDS = "its place counts words"


@dataclass(frozen=True)
class Place:
    """Where an answer stands.

    Attributes:
        start: Its first character's number in the context.
        end: The number behind its last character.
        mended: What was wrong with it, for people; empty where nothing was.
    """

    start: int
    end: int
    mended: str = ""


class NoPlace(ValueError):
    """An answer has no certain place. The text is the end of a sentence with the cure."""


def place_of(context: str, text: str, start: int | None) -> Place:
    """Return where an answer stands in its context, without the blanks around it.

    Args:
        context: The text that holds the answer.
        text: The answer, which is not blank.
        start: Its first character's number, if it is given.

    Raises:
        NoPlace: It does not stand there, and it is not certain where it does.
    """
    if start is not None:
        before = len(text) - len(text.lstrip())
        text, start = text.strip(), start + before
        if context.startswith(text, start):
            return Place(start, start + len(text))
        mended = _recounted(context, text, start) or _counted_in_words(context, text, start - before)
        if mended is not None:
            return mended
    text = text.strip()
    found = _occurrences(context, text)
    if len(found) == 1:
        return Place(*found[0], "" if start is None else ELSEWHERE)
    if not found:
        similar = _similar(context, text)
        if len(similar) == 1:
            return Place(*similar[0], "it is written with other blanks or capitals")
        composed = _composed(context, text, start)
        if composed is not None:
            return composed
        raise NoPlace(
            "does not occur in its context; copy it from there, empty the answers if it holds none, or remove the row"
        )
    if start is None:
        raise NoPlace(
            f"occurs {len(found)} times in its context; say which by the number of characters before it (answer_start)"
        )
    near = context[start : start + len(text)] if start < len(context) else None
    there = "where the context has ended" if near is None else f"where the context has {near[:40]!r}"
    raise NoPlace(f"does not stand at its place {start}, {there}, and occurs {len(found)} times; correct answer_start")


def _recounted(context: str, text: str, start: int) -> Place | None:
    """Return the place where a text stands, once a place is counted otherwise; None where it is not certain."""
    for other, told in _other_counts(context, start):
        if other is not None and context.startswith(text, other):
            return Place(other, other + len(text), told)
    shifted = [start + shift * sign for shift in SHIFTS for sign in (-1, 1)]
    right = [place for place in shifted if place >= 0 and context.startswith(text, place)]
    if len(right) == 1:
        return Place(right[0], right[0] + len(text), "its place is off by one or two characters")
    return None


def _counted_in_words(context: str, text: str, start: int) -> Place | None:
    """Return the place where a text stands behind so many words, which are parted by blanks; None where it does not."""
    parts = context.split(maxsplit=start)
    if len(parts) <= start:
        return None
    place = len(context.rstrip()) - len(parts[start].rstrip())
    ends_a_word = re.match(r"\w", parts[start][len(text) :]) is None
    return Place(place, place + len(text), WORDS) if parts[start].startswith(text) and ends_a_word else None


def _composed(context: str, text: str, start: int | None) -> Place | None:
    """Return where a text stands in another Unicode form (an accent with its letter, or behind), if certain."""
    if context.isascii() or len(text) > _LONGEST_PATTERN:
        return None
    text = unicodedata.normalize("NFC", text)
    letters = [found.span() for found in re.finditer(r".[\u0300-\u036f]*", context, re.DOTALL)]
    parts = [unicodedata.normalize("NFC", context[first:last]) for first, last in letters]
    at: dict[int, int] = {}  # place in the composed context -> the letter that begins or ends there
    length = 0
    for number, part in enumerate(parts):
        at[length] = number
        length += len(part)
    at[length] = len(parts)
    told = "it is written in another form of Unicode"
    found = _occurrences("".join(parts), text)
    found = [place for place in found if place[0] in at and place[1] in at]
    if len(found) > 1 and start is not None:
        near = [place for place in found if start in (place[0], letters[at[place[0]]][0])]
        found = near if len(near) == 1 else found
    if len(found) != 1:
        return None
    first, last = (at[place] for place in found[0])
    return Place(letters[first][0], letters[last - 1][1], told)


def _other_counts(context: str, start: int) -> Iterator[tuple[int | None, str]]:
    """Yield the places that a number means where it counts something else, with what it counts."""
    if not context.isascii():
        yield _characters(context, start, "utf-8", 1), "its place counts bytes"
        yield _characters(context, start, "utf-16-le", 2), "its place counts UTF-16 units, as JavaScript and Java do"
    if "\n" in context:
        yield _without_returns(context, start), "its place counts line ends as two characters"
        yield _with_returns(context, start), "its place counts line ends as one character"


def _characters(context: str, start: int, encoding: str, width: int) -> int | None:
    """Return the characters in so many units of an encoding; None where a character is cut."""
    try:
        return len(context.encode(encoding)[: start * width].decode(encoding))
    except UnicodeError:
        return None


def _without_returns(context: str, start: int) -> int | None:
    """Return the place in a context whose line ends are one character of a place where they are two."""
    place = passed = 0
    while True:
        line_end = context.find("\n", passed)
        if line_end < 0 or line_end >= start - place:
            return start - place
        place, passed = place + 1, line_end + 1


def _with_returns(context: str, start: int) -> int | None:
    """Return the place in a context whose line ends are two characters of a place where they are one."""
    place = start
    passed = 0
    while True:
        line_end = context.find("\r\n", passed)
        if line_end < 0 or line_end >= place:
            return place
        place, passed = place + 1, line_end + 2


def _occurrences(context: str, text: str) -> list[tuple[int, int]]:
    """Return where a text stands as words of its own, or, where it nowhere does, as part of words."""
    found = [(place.start(), place.start() + len(text)) for place in re.finditer(f"(?={re.escape(text)})", context)]
    words = [(start, end) for start, end in found if not _is_inside_word(context, start, end)]
    return words or found


def _is_inside_word(context: str, start: int, end: int) -> bool:
    """Return whether a letter or digit stands right before or behind a part of a context that has one there, too."""
    before = start > 0 and context[start - 1].isalnum() and context[start].isalnum()
    return before or (end < len(context) and context[end].isalnum() and context[end - 1].isalnum())


def _similar(context: str, text: str) -> list[tuple[int, int]]:
    """Return where a text stands with other white space or capitals."""
    if len(text) > _LONGEST_PATTERN:
        return []
    pattern = r"\s+".join(map(re.escape, text.split()))
    return [found.span() for found in re.finditer(pattern, context, re.IGNORECASE)]
