"""Rows with the same input: found by content, whatever the file or order, and apart from what no reader sees.

`load_data` finds them once rows are sampled. `data.splits` draws them onto one side, `data.repeat_findings` tells of
them, and packed models mark the rows that they have seen by the same form of an input.

Two texts are the same where they differ in white space (its kind, its amount, around the text) or in Unicode's form of
a letter (é as one character or as e and an accent) only. Capitals and punctuation may carry the meaning that is to be
learned, so texts that differ in them are two. Images and sounds are the same where their files' bytes are.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from luthier.trials.data.row_digests import Digest, content_digest

Numbers = NDArray[numpy.int64]

_LONG = 1 << 16  # characters; a list of the words of such a text would take several times its memory
_BLANKS = {code: " " for code in range(0x3001) if chr(code).isspace()}  # Unicode's last is the ideographic space
_NOUNS = {
    "question": "question",
    "audio": "sound",
    "image": "image",
    "tokens": "sentence",
    "text_pair": "pair of texts",
    "text": "text",
    "prompt": "prompt",
    "messages": "conversation",
    "source": "source",
}


def noun(columns: Collection[str], count: int = 2) -> str:
    """Return what a model's input is, from the roles that it has; of several the plural."""
    name = next((name for role, name in _NOUNS.items() if role in columns), "input")
    first, *others = name.split()
    return name if count == 1 else " ".join([f"{first}s", *others])


def plain_text(text: str) -> str:
    """Return a text in Unicode's composed form, with one blank for each run of white space and none around it."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if (
        text.isprintable() and "  " not in text and text[:1] != " " != text[-1:]
    ):  # its only white space is single blanks
        return text
    if len(text) <= _LONG:
        return " ".join(text.split())
    text = text.translate(_BLANKS).strip(" ")
    while "  " in text:
        text = text.replace("  ", " ")
    return text


def plain_columns(columns: Mapping[str, Sequence[Any]]) -> dict[str, Iterator[Any]]:
    """Return role -> the plain form of each row's text or words; images and sounds are as they are."""
    return {role: map(_plain, values) for role, values in columns.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return list(map(_plain, value)) if isinstance(value, list) else value


def first_rows(
    splits: Mapping[str, Mapping[str, Sequence[Any]]], digest: Digest = content_digest
) -> dict[str, Numbers]:
    """Find the rows with the same input, in all splits together and by all roles together.

    Hashes find the rows that may be the same, and those are compared. Memory is 16 bytes a row, and the inputs of those
    that repeat.

    Args:
        splits: Split name -> role -> one value per row; all splits have the same roles.
        digest: Of the content of an image or sound.

    Returns:
        Split name -> the number of the first row with the same input, counted over all splits: (rows,).
    """
    hashes = numpy.fromiter((hash(row) for columns in splits.values() for row in _inputs(columns, digest)), numpy.int64)
    first = numpy.arange(len(hashes))
    ordered = numpy.sort(hashes)
    repeated = numpy.isin(hashes, ordered[1:][ordered[1:] == ordered[:-1]])
    known: dict[tuple[Any, ...], int] = {}
    found: dict[str, Numbers] = {}
    offset = 0
    for name, columns in splits.items():
        count = len(next(iter(columns.values())))
        rows = numpy.flatnonzero(repeated[offset : offset + count]).tolist()
        chosen = {role: [values[row] for row in rows] for role, values in columns.items()}
        for row, content in zip(rows, _inputs(chosen, digest), strict=True):
            first[offset + row] = known.setdefault(content, offset + row)
        found[name] = first[offset : offset + count]
        offset += count
    return found


def _inputs(columns: Mapping[str, Sequence[Any]], digest: Digest) -> Iterator[tuple[Any, ...]]:
    """Yield each row's inputs as a value whose equality is theirs."""

    def content(value: Any) -> Any:
        if isinstance(value, str):
            return plain_text(value)
        if isinstance(value, Path | bytes):
            return digest(value)
        if isinstance(value, dict):
            return tuple((key, content(inner)) for key, inner in sorted(value.items()))
        return tuple(map(content, value)) if isinstance(value, list) else value

    return zip(*(map(content, columns[role]) for role in sorted(columns)), strict=True)


def units_of(first: Numbers) -> list[list[int]]:
    """Return the rows of each input that several rows have, ascending, the inputs in the order of their first rows.

    Args:
        first: A number for each row, the same one for rows with the same input: (rows,).
    """
    order = numpy.argsort(first, kind="stable")
    starts = numpy.flatnonzero(numpy.diff(first[order], prepend=-1))
    sizes = numpy.diff(starts, append=len(first))
    several = zip(starts[sizes > 1], sizes[sizes > 1], strict=True)
    return sorted(order[start : start + size].tolist() for start, size in several)


def joined_groups(groups: list[str], first: Numbers) -> list[str]:
    """Return the groups of rows that are related in either way: by their group, or by the same input.

    Groups that share an input become one; it has the name of the one with the most rows, so that it keeps the place of
    most of its rows in a stable draw.

    Args:
        groups: The group of each row.
        first: A number for each row, the same one for rows with the same input: (rows,).
    """
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while (above := parent.get(group, group)) != group:
            parent[group] = group = parent.get(above, above)  # halves the way for the next one
        return group

    for unit in units_of(first):
        for row in unit[1:]:
            one, other = root(groups[unit[0]]), root(groups[row])
            if one != other:
                parent[other] = one
    if not parent:
        return groups
    sizes = Counter(groups)
    named: dict[str, str] = {}
    for group in sorted(sizes, key=lambda group: (-sizes[group], group)):
        named.setdefault(root(group), group)
    return [named[root(group)] for group in groups]
