"""Excerpts of examples, by which people find a row again that a finding tells of."""

from luthier.studies.text import one_line
from luthier.trials.data.splits import Split

EXCERPT = 40
"""Characters, or words, of an example in a sentence."""
_FIRST = ("text", "tokens", "audio", "question")
"""The roles that are shown rather than others, in this order."""


def excerpt(split: Split, row: int) -> str:
    """Return the start of an example's input, or the name of its file; an empty text of one that has no name."""
    value = next(split.columns[role][row] for role in (*_FIRST, *split.columns) if role in split.columns)
    if isinstance(value, list) and isinstance(value[0], dict):  # a conversation
        value = str(value[-1]["content"])
    if isinstance(value, bytes):
        return ""
    if not isinstance(value, str | list):
        return str(value)
    start = value[: 4 * EXCERPT] if isinstance(value, str) else " ".join(value[:EXCERPT])
    return repr(one_line(start)[:EXCERPT])
