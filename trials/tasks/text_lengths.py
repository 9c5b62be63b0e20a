"""The lengths of texts in tokens, before any is cut, for the tasks on text.

Texts are tokenized in small batches, of which only the lengths are kept: memory does not depend on the number of rows,
nor on the size of a cell.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy

from luthier.trials.data.input_lengths import TOKENS, InputLengths
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.text import longest_input
from luthier.trials.tasks.token_rows import batches

LONGEST = 100_000
"""Characters of a text that are tokenized. The length of a longer one follows from its share of the characters."""
NO_LIMIT = 1_000_000
"""Tokens: the largest `max_length` of a space. A model that takes as many has no limit."""
Text = TypeVar("Text", str, list[str])  # a text, or the words of one


def measure_texts(
    pretrained: Pretrained,
    columns: Sequence[Sequence[str]] | Sequence[Sequence[list[str]]],
    rows: Sequence[int],
    total: int,
    poll: Callable[[], None],
) -> InputLengths:
    """Return the lengths of texts, of pairs of texts, or of sentences of words.

    Args:
        pretrained: The model and its tokenizer.
        columns: One, or two for pairs: the text, or the list of words, of each measured row.
        rows: Their numbers in the split.
        total: Rows of the split.
        poll: Called after each batch.
    """
    tokenizer = pretrained.processor
    special = tokenizer.num_special_tokens_to_add(pair=len(columns) > 1)
    in_words = isinstance(columns[0][0], list)
    lengths = numpy.zeros(len(rows), dtype=numpy.int64)
    for batch in batches(columns):
        whole = [column[batch] for column in columns]
        starts = [list(map(_start, texts)) for texts in whole]
        found = tokenizer(
            *starts,
            is_split_into_words=in_words,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        ratios = numpy.maximum(_sizes(whole), 1) / numpy.maximum(_sizes(starts), 1)
        own = numpy.array(list(map(len, found["input_ids"]))) - special
        lengths[batch] = numpy.round(own * ratios + special)
        poll()
    limit = longest_input(pretrained, NO_LIMIT, pair=len(columns) > 1)
    return InputLengths(
        lengths,
        rows,
        total,
        TOKENS,
        "sentence" if in_words else "text",
        limit=limit if limit < NO_LIMIT else None,
        empty=[row for row, length in zip(rows, lengths, strict=True) if length <= special],
        kept_whole=in_words,
    )


def _sizes(columns: Sequence[Sequence[Any]]) -> numpy.ndarray:
    """Return the characters of each row, (rows,)."""
    return numpy.array([sum(map(_size, row)) for row in zip(*columns, strict=True)])


def _size(text: str | list[str]) -> int:
    """Return the characters of a text, or of its words."""
    return len(text) if isinstance(text, str) else sum(map(len, text))


def _start(text: Text) -> Text:
    """Return a text without what is beyond `LONGEST` characters."""
    if isinstance(text, str):
        return text[:LONGEST]
    if _size(text) <= LONGEST:
        return text
    words, characters = list[str](), 0
    for word in text:
        characters += len(word)
        if characters > LONGEST:
            break
        words.append(word)
    return words or [text[0][:LONGEST]]
