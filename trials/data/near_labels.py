"""Labels that are nearly equal: one is probably the other with a slip of the pen. They stay apart, with a warning.

`label_findings` calls `near_labels`. Short words, numbers, numerals and prefixes that turn a meaning are left out:
"class1" and "class2", "cat" and "car", "stage ii" and "stage iii", "male" and "female" are meant as they are.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from luthier.trials.data.label_spellings import folded

RARE = 0.1
"""A label can be a slip of another one that has ten times its rows or more."""
LEAST_LETTERS = 4
LEAST_LETTERS_CHANGED = 7
"""A word with one letter changed into another needs so many letters: short ones are often other words (hate, date)."""
LONGEST = 60
MOST = 20_000
"""Slips are not looked for among more labels, or longer ones: they would take minutes and gigabytes."""
_WORDS = re.compile(r"\w+")
_SEPARATORS = re.compile(r"(?<=\w)[\s_-]+(?=\w)|_")
_ROMAN = re.compile(r"[ivxlc]+")


def near_labels(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return pairs of labels, the rarer first, of which the rarer one looks like a slip of the other.

    Args:
        counts: Label -> its rows or words.
    """
    pairs = [*_separated_otherwise(counts), *_slips(counts)]
    return sorted(set(pairs))


def _separated_otherwise(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield labels that differ in separators alone: "not spam", "not_spam", "NotSpam"."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for label in counts:
        key = _SEPARATORS.sub("", folded(label))
        if sum(map(str.isalpha, key)) >= 2 and not any(map(str.isdigit, key)):
            alike[key].append(label)
    for labels in alike.values():
        most = max(labels, key=lambda label: (counts[label], label))
        yield from ((label, most) for label in labels if label != most)


def _slips(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield labels that differ in one letter (left out, added, changed, or two exchanged) and are rare beside another.

    Labels with a letter left out share a text with those that they can be mistaken for: so the work grows with the
    number of labels, not with its square.
    """
    near: defaultdict[str, list[str]] = defaultdict(list)
    for label in counts if len(counts) <= MOST else ():
        text = folded(label)
        if len(text) <= LONGEST:
            for key in {text, *(text[:i] + text[i + 1 :] for i in range(len(text)))}:
                near[key].append(label)
    for labels in near.values():
        most = max(labels, key=lambda label: (counts[label], label))
        for label in labels:
            rare = label != most and counts[label] <= RARE * counts[most]
            if rare and _is_slip(_WORDS.findall(folded(label)), _WORDS.findall(folded(most))):
                yield label, most


def _is_slip(words: list[str], others: list[str]) -> bool:
    """Return whether the words of two labels are the same but for one, which is a slip of the pen."""
    if len(words) != len(others):
        return False
    differing = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    return len(differing) == 1 and _one_slip(*differing[0])


def _one_slip(word: str, other: str) -> bool:
    """Return whether two different words are one slip of the pen apart."""
    if not (word + other).isalpha() or (_ROMAN.fullmatch(word) and _ROMAN.fullmatch(other)):
        return False
    start = next((i for i, (a, b) in enumerate(zip(word, other, strict=False)) if a != b), min(len(word), len(other)))
    if len(word) == len(other):
        rest, behind = word[start:], other[start:]
        if rest[:2] == behind[1::-1] and rest[2:] == behind[2:]:  # two letters exchanged
            return len(word) >= LEAST_LETTERS
        changed = rest[1:] == behind[1:] and 0 < start < len(word) - 1
        return changed and len(word) >= LEAST_LETTERS_CHANGED
    short, long = sorted((word, other), key=len)
    if len(long) - len(short) != 1 or short[start:] != long[start + 1 :]:
        return False
    if start > 0 and long[start] == long[start - 1]:  # a letter doubled; "aa" and "aaa" are grades
        return len(short) >= LEAST_LETTERS - 1 and len(set(long)) > 1
    return start > 0 and len(short) >= LEAST_LETTERS
