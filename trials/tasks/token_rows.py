"""The token ids of many texts, in little memory: tokenized batch by batch, and of long texts the beginning only.

A tokenizer keeps some hundred bytes for each token of a call until its result is dropped, and Python's lists of numbers
take forty more. The tasks on text tokenize a whole split here.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

BATCH_ROWS = 1_000
BATCH_CHARACTERS = 1_000_000
LONG = 64
"""Characters for each token that truncation leaves: of longer texts the beginning is tokenized."""
MARGIN = 500
"""Tokens behind those that truncation leaves: more than one word has, which is cut at the end of a beginning. (BERT's
tokenizer makes one token of a word of over 100 characters, and up to 100 of its beginning.)"""
_MARGIN_CHARACTERS = 8 * MARGIN
_GROWTH = 4


class TokenRows:
    """A model's inputs, each a row of numbers for each text. Rows of equal numbers, as masks are, are one object.

    Attributes:
        columns: Input name -> its rows.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """`names`: The inputs to keep, as far as the tokenizer makes them."""
        self._names = names
        self._shared: dict[bytes, Any] = {}
        self.columns: dict[str, list[Any]] = {}

    def add(self, tokens: Mapping[str, Any]) -> None:
        """Add the rows of a tokenizer's result."""
        for name in self._names:
            if name in tokens:
                self.columns.setdefault(name, []).extend(map(self._row, tokens[name]))

    def _row(self, numbers: Sequence[Any]) -> Any:
        try:
            row = array("i", numbers)
        except (TypeError, OverflowError):  # no numbers, or too large ones: the model's check names them
            return numbers
        return self._shared.setdefault(row.tobytes(), row)


def batches(columns: Sequence[Sequence[Any]]) -> Iterator[slice]:
    """Yield slices of rows that are tokenized in one call.

    Args:
        columns: The texts, or lists of words, of each row; several for rows of several texts.
    """
    start, characters = 0, 0
    for row, values in enumerate(zip(*columns, strict=True)):
        size = sum(len(value) if isinstance(value, str) else sum(map(len, value)) for value in values)
        if row > start and (row - start == BATCH_ROWS or characters + size > BATCH_CHARACTERS):
            yield slice(start, row)
            start, characters = row, 0
        characters += size
    yield slice(start, None)


def beginnings(tokenizer: Any, texts: Sequence[str], longest: int) -> list[str]:
    """Return the beginnings of a row's long texts that have the same first tokens; other texts are as they are.

    Truncation keeps `longest` tokens, and more than twice as many are left: what follows changes none of the kept. Of
    two texts the tokenizer cuts the one with more tokens, so that one stays the one with more. (It would also make an
    object of each combination of two pieces of a pair's texts, which for two long ones takes gigabytes.)

    Args:
        tokenizer: It makes the tokens.
        texts: A text, or a pair of them.
        longest: Tokens that truncation leaves of the row.
    """
    is_long = [len(text) > _beginning(longest) for text in texts]
    if not any(is_long) or tokenizer.truncation_side != "right":
        return list(texts)
    if len(texts) == 1:
        return [_start(tokenizer, texts[0], longest, 0)]
    counts = [_count(tokenizer, text) for text in texts]
    if counts[0] == counts[1]:
        return list(texts)
    less, more = sorted((0, 1), key=counts.__getitem__)
    found = list(texts)
    if is_long[less]:
        found[less] = _start(tokenizer, texts[less], longest, 0)
    if is_long[more]:
        found[more] = _start(tokenizer, texts[more], longest, _count(tokenizer, found[less]))
    return found


def _beginning(longest: int) -> int:
    """Return the characters of the first beginning that is tried."""
    return LONG * longest + _MARGIN_CHARACTERS


def _start(tokenizer: Any, text: str, longest: int, less: int) -> str:
    """Return a beginning of a text that has tokens enough, and more than `less`; or the text."""
    size = _beginning(longest)
    while size < len(text):
        if _count(tokenizer, text[:size]) > max(2 * longest, less) + MARGIN:
            return text[:size]
        size *= _GROWTH
    return text


def _count(tokenizer: Any, text: str) -> int:
    """Return the number of a text's tokens."""
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def masks(lengths: Iterable[int]) -> list["array[int]"]:
    """Return an attention mask of ones for each length; those of equal lengths are one object."""
    known: dict[int, array[int]] = {}
    return [known.setdefault(length, array("i", [1]) * length) for length in lengths]


def blocks(ids: Sequence[int], room: int) -> Iterator[Sequence[int]]:
    """Yield a text's tokens in blocks of at most `room`, each of which begins with the last token of the one before.

    So each token but the first is predicted once.
    """
    for start in range(0, len(ids) - 1, room - 1):
        yield ids[start : start + room]


def packed(ids: Sequence[int]) -> "array[int]":
    """Return tokens in the least memory."""
    return array("i", ids)
