"""Entities in a sequence of tags, by the rules of the CoNLL shared tasks' conlleval."""

import re
from collections.abc import Sequence
from functools import lru_cache

_TAG = re.compile(r"([BIESLUM])(?:-(.*))?", re.DOTALL)
Entity = tuple[int, int, str]  # first word, word behind the last, kind


def split_tag(tag: str) -> tuple[str, str]:
    """(prefix, kind): B-PER is B and PER; O is O; a tag without a prefix is inside of a kind of its own name.

    BILOU's L and U are IOBES' E and S.
    """
    if tag == "O":
        return "O", ""
    found = _TAG.fullmatch(tag)
    if found is None:
        return "I", tag
    return {"L": "E", "U": "S"}.get(found[1], found[1]), found[2] or ""


def entities(tags: Sequence[str]) -> frozenset[Entity]:
    """The entities of one sentence. BIO, IOB1 and IOBES are read alike: what is malformed is read as conlleval does.

    Within tagged words a new entity starts at B and S, after E and S, and where the kind changes.
    """
    return _entities(tuple(tags))


@lru_cache(maxsize=2**16)  # resamples of a test split score the same sentences thousands of times
def _entities(tags: tuple[str, ...]) -> frozenset[Entity]:
    found: set[Entity] = set()
    start, before = 0, ("O", "")
    for i, tag in enumerate((*map(split_tag, tags), ("O", ""))):
        boundary = tag[0] in "BS" or before[0] in "ES" or tag[1] != before[1]
        if before[0] != "O" and (tag[0] == "O" or boundary):
            found.add((start, i, before[1]))
        if tag[0] != "O" and (before[0] == "O" or boundary):
            start = i
        before = tag
    return frozenset(found)
