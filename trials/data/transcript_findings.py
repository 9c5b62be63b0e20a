"""Findings about transcripts: letters that cannot be learned, and ways of writing that a recording does not tell.

`Transcripts.findings` calls it, once for a study.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from luthier.studies.findings import EXAMPLES, Finding, note, warning

FEW_ROWS = 5
"""Training transcripts with a letter, below which it can hardly be learned; where there are so many more of them."""
MANY_TIMES = 20
EXCERPT = 60  # characters of a transcript in an example


def transcript_findings(splits: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Return what is remarkable about transcripts.

    Args:
        splits: Split name -> its transcripts; "train" is there.
    """
    return [*_same(splits["train"]), *_untrained(splits), *_rare(splits["train"]), *_written(splits["train"])]


def _same(texts: Sequence[str]) -> Iterator[Finding]:
    """Yield a warning where all training transcripts, of two or more, are one text."""
    if len(texts) > 1 and len(set(texts)) == 1:
        said = (
            f"All {len(texts):,} training transcripts are {texts[0][:EXCERPT]!r}, so the model learns to write that, "
        )
        cure = "Check the column, or add recordings of other words."
        yield warning("one-text-to-learn", f"{said}whatever it hears.", cure, len(texts))


def _untrained(splits: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Yield a warning for each split with letters that no training transcript has."""
    known = set().union(*splits["train"])
    for split, texts in splits.items():
        rows = [i for i, text in enumerate(texts) if not known.issuperset(text)]
        if not rows:
            continue
        letters = sorted(set().union(*(texts[i] for i in rows)) - known)
        text = f"{len(rows):,} of {len(texts):,} {split} transcripts have letters that no training transcript has: "
        text += f"{_listed(letters)}. No model learns to write them, so each counts as an error."
        cure = "Write them as the training transcripts do, or add training rows with them."
        yield warning("letters-not-in-training", text, cure, len(rows), _examples(texts, split, rows))


def _rare(texts: Sequence[str]) -> Iterator[Finding]:
    """Yield a note on letters that few training transcripts have, where there are many transcripts."""
    if len(texts) < FEW_ROWS * MANY_TIMES:
        return
    counts = Counter(letter for text in texts for letter in set(text))
    rare = sorted(letter for letter, count in counts.items() if count < FEW_ROWS)
    if not rare or 2 * len(rare) > len(counts):  # in Chinese most letters are rare
        return
    rows = [i for i, text in enumerate(texts) if not set(rare).isdisjoint(text)]
    text = f"{len(rare):,} of {len(counts):,} letters stand in fewer than {FEW_ROWS} training transcripts: "
    text += f"{_listed(rare)}. They can hardly be learned."
    cure = "Look whether they are slips or symbols, and write what is said."
    yield note("rare-letters", text, len(rare), _examples(texts, "train", rows), cure)


def _written(texts: Sequence[str]) -> Iterator[Finding]:
    """Yield notes on digits, punctuation and capitals, which a recording does not tell."""
    if rows := [i for i, text in enumerate(texts) if _has_digit(text)]:
        cure = "A number is read in several ways; write it as it is said."
        said = f"{len(rows):,} of {len(texts):,} training transcripts have digits."
        yield note("digits-in-transcripts", said, len(rows), _examples(texts, "train", rows), cure)
    if rows := [i for i, text in enumerate(texts) if _has_punctuation(text)]:
        cure = "It is not heard, and each mark in error makes its word wrong; remove it if it is not wanted."
        said = f"{len(rows):,} of {len(texts):,} training transcripts have punctuation."
        yield note("punctuation-in-transcripts", said, len(rows), _examples(texts, "train", rows), cure)
    if rows := [i for i, text in enumerate(texts) if text not in (text.lower(), text.upper())]:
        cure = "They are not heard, and a wrong one makes its word wrong; write one kind if both are not wanted."
        said = f"{len(rows):,} of {len(texts):,} training transcripts have capitals beside small letters."
        yield note("capitals-in-transcripts", said, len(rows), _examples(texts, "train", rows), cure)


def _has_digit(text: str) -> bool:
    return any(letter.isdigit() for letter in text)


def _has_punctuation(text: str) -> bool:
    """Return whether a text has marks beside letters and digits, an apostrophe or hyphen inside of a word excepted."""
    for word in text.split():
        inside = word[1:-1].replace("'", "").replace("\u2019", "").replace("-", "")
        if any(unicodedata.category(letter)[0] in "PS" for letter in f"{word[0]}{inside}{word[-1]}"):
            return True
    return False


def _listed(letters: Sequence[str]) -> str:
    """Return letters as people read them, those that cannot be seen by their names."""
    shown = [letter if _is_visible(letter) else f"U+{ord(letter):04X}" for letter in letters[:EXAMPLES]]
    further = f" and {len(letters) - EXAMPLES:,} more" if len(letters) > EXAMPLES else ""
    return f"{' '.join(shown)}{further}"


def _is_visible(letter: str) -> bool:
    return letter.isprintable() and not unicodedata.combining(letter)


def _examples(texts: Sequence[str], split: str, rows: Sequence[int]) -> list[str]:
    """Return the first rows as a person finds them again."""
    return [f"row {i + 1} of the {split} split: {texts[i][:EXCERPT]!r}" for i in rows[:EXAMPLES]]
