"""Error rates of transcripts: the edits that turn what a model wrote into what was said, by words and by letters.

`statistics` of speech recognition calls it for each row; the rates are sums over sums, so they can be resampled.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Edits:
    """What is wrong in one transcript.

    Attributes:
        words: Words that must be replaced, removed or added.
        of_words: Words that were said.
        letters: The same for letters, blanks included.
        of_letters: Letters of what was said.
    """

    words: int
    of_words: int
    letters: int
    of_letters: int


def edits(said: str, truth: str) -> Edits:
    """Return the least edits from what a model wrote to the truth; runs of white space are one blank in both."""
    words, true_words = said.split(), truth.split()
    letters, true_letters = " ".join(words), " ".join(true_words)
    return Edits(distance(words, true_words), len(true_words), distance(letters, true_letters), len(true_letters))


def distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Return the Levenshtein distance of two sequences: the least replacements, removals and additions.

    The columns of the table of distances are bits of whole numbers (Myers 1999, with the last row as in Hyyro 2003), so
    that a column costs a few operations.
    """
    if not first or not second:
        return len(first) + len(second)
    places: dict[Hashable, int] = {}  # item -> a bit for each of its places in `first`
    for i, item in enumerate(first):
        places[item] = places.get(item, 0) | 1 << i
    last, every = 1 << len(first) - 1, (1 << len(first)) - 1
    up, down = every, 0  # where a cell is one more, and one less, than the cell before it in its column
    score = len(first)
    for item in second:
        equal = places.get(item, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        more = down | ~(diagonal | up) & every  # one more, and one less, than the cell in the column before
        less = up & diagonal
        score += bool(more & last) - bool(less & last)
        more, less = more << 1 & every | 1, less << 1 & every
        up = less | ~(diagonal | more) & every
        down = more & diagonal
    return score
