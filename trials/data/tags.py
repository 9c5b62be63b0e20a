"""Entities in a sequence of tags, by the rules of conlleval, the script of the CoNLL shared tasks.

Labels and metrics call these functions. seqeval computes the same entities (a test compares both) and is not used: it
needs scikit-learn, which would be a heavy library to install on each worker.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

_TAG = re.compile(r"([BIESLUM])(?:-(.*))?", re.DOTALL)
Entity = tuple[int, int, str]
"""First word, the word after the last one, kind."""


def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag into prefix and kind of entity.

    B-PER is ("B", "PER"), O is ("O", ""). A tag without a prefix means inside an entity of the kind of this name. The
    prefixes L and U (BILOU) become E and S (IOBES).
    """
    if tag == "O":
        return "O", ""
    match = _TAG.fullmatch(tag)
    if match is None:
        return "I", tag
    return {"L": "E", "U": "S"}.get(match[1], match[1]), match[2] or ""


def entities(tags: Sequence[str]) -> frozenset[Entity]:
    """Return the entities of one sentence, from one tag for each word.

    BIO, IOB1 and IOBES are read by the same rules, and so are malformed sequences: within tagged words a new entity
    starts at B and S, after E and S, and where the kind changes.
    """
    return _entities(tuple(tags))


@lru_cache(maxsize=2**16)  # resamples of a test split score the same sentences thousands of times
def _entities(tags: tuple[str, ...]) -> frozenset[Entity]:
    spans: set[Entity] = set()
    start = 0
    before = ("O", "")
    for i, tag in enumerate((*map(split_tag, tags), ("O", ""))):
        boundary = tag[0] in "BS" or before[0] in "ES" or tag[1] != before[1]
        if before[0] != "O" and (tag[0] == "O" or boundary):
            spans.add((start, i, before[1]))
        if tag[0] != "O" and (before[0] == "O" or boundary):
            start = i
        before = tag
    return frozenset(spans)
