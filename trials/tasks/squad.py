"""Exact match and F1 of answers, as the official SQuAD script (2.0) counts them.

`QuestionAnswering` calls `best_scores` for each question. Tests compare it with a copy of the official functions.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable

_PUNCTUATION = frozenset(string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalized(answer: str) -> str:
    """Return an answer in small letters, without punctuation, articles and superfluous white space."""
    plain = "".join(letter for letter in answer.lower() if letter not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def best_scores(answer: str, right: Iterable[str]) -> tuple[float, float]:
    """Return exact match and F1 of an answer, each with the right answer that suits it best.

    Args:
        answer: The model's; empty for none.
        right: The right answers; none where the question has no answer.
    """
    words = normalized(answer).split()
    wanted = [words_of for text in right if (words_of := normalized(text).split())] or [[]]
    return max(float(words == other) for other in wanted), max(_f1(words, other) for other in wanted)


def _f1(words: list[str], right: list[str]) -> float:
    """Return F1 over words; where one side has none, whether both have none."""
    if not words or not right:
        return float(words == right)
    shared = sum((Counter(words) & Counter(right)).values())
    return 2 * shared / (len(words) + len(right)) if shared else 0.0
