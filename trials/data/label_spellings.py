"""Spellings of a label: what differs only in blanks, capitals, Unicode form or the writing of a number is one.

`Targets.alike` calls `merge_labels` before the labels are read; `tag_spellings` does the same for tags of words. The
most frequent spelling stays, and a finding names the others. Names that a file declares are kept as they are.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from luthier.studies.findings import Finding, warning
from luthier.studies.wire import cut
from luthier.trials.data.tabular import Table

_WHOLE = re.compile(r"([+-]?)(\d{1,18})(?:\.0*)?")
LONGEST_SHOWN = 100  # characters of a label in a message
ALPHABET = 8
"""From so many letters that occur in both cases on, single letters are classes of characters, not spellings."""

Key = Callable[[str], str]


def visible(text: str) -> str:
    """Return a text without what nobody sees: blanks too many, zero-width characters, one of several Unicode forms.

    Forms are those of NFKC: composed and decomposed letters, full-width letters, ligatures.
    """
    text = unicodedata.normalize("NFKC", text)
    if not text.isascii():
        text = "".join(c for c in text if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f")
    return " ".join(text.split())


def folded(text: str) -> str:
    """Return a text's `visible` form without capitals.

    They become small letters one by one, so that "Maße" and "Masse", which are two words, stay apart.
    """
    return unicodedata.normalize("NFKC", visible(text).lower())


def whole_number(text: str) -> str | None:
    """Return the whole number that a text writes ("01", "+1" and "1.0" are "1"), or None."""
    match = _WHOLE.fullmatch(folded(text))
    return None if match is None else str(int(match[1] + match[2]))


def shown(text: str) -> str:
    """Return a label in quotes, with escapes for what would look like another one: blanks, decomposed letters."""
    text = cut(text, LONGEST_SHOWN)
    return repr(text) if unicodedata.normalize("NFC", text) == text else ascii(text)


def merge_labels(tables: Mapping[str, Table], column: str) -> tuple[dict[str, Table], list[Finding]]:
    """Return the tables with one spelling for each label, over all splits, and the finding about merged ones.

    Args:
        tables: Split name -> its table; `label_values.plain_labels` has made their labels of one type.
        column: The label column, which each table has.
    """
    counts: Counter[str] = Counter()
    for table in tables.values():
        values = table.columns[column]
        if not set(map(type, values)) <= {str}:
            return dict(tables), []
        counts.update(values)
    names = one_spelling(counts, label_key(counts))
    renamed = dict(tables)
    for name, table in tables.items() if names else ():
        values = [names.get(value, value) for value in table.columns[column]]
        renamed[name] = replace(table, columns={**table.columns, column: values})
    return renamed, merged_finding(names, counts, "rows")


def label_key(labels: Iterable[str]) -> Key:
    """Return the function from a label to what is the same for all its spellings.

    Args:
        labels: All labels of a column. Where many single letters occur in both cases, case tells characters apart.
    """
    letters = {label.strip() for label in labels if len(label.strip()) == 1}
    characters = sum(letter.islower() and letter.upper() in letters for letter in letters) >= ALPHABET

    def key(label: str) -> str:
        if characters and len(label.strip()) == 1:
            return label.strip()
        return whole_number(label) or folded(label)

    return key


def one_spelling(counts: Mapping[str, int], key: Key, fixed: Iterable[str] = ()) -> dict[str, str]:
    """Return spelling -> the one that it is written as, for those that are not written as they are.

    Args:
        counts: Spelling -> how often it occurs.
        key: Spelling -> what it is a spelling of.
        fixed: Spellings that win over all others.
    """
    alike: defaultdict[str, set[str]] = defaultdict(set)
    fixed = set(fixed)
    for spelling in (*counts, *fixed):
        alike[key(spelling)].add(spelling)
    alike.pop("", None)  # nothing to see: an empty label, which is refused
    names: dict[str, str] = {}
    for spellings in alike.values():
        best = min(spellings, key=lambda s: (s not in fixed, _hides(s), -counts.get(s, 0), s))
        names |= {spelling: best for spelling in spellings - fixed if spelling != best}
    return names


def _hides(spelling: str) -> bool:
    """Return whether nobody would write a name so who sees it: with a blank at an end, or invisible characters."""
    return spelling != spelling.strip() or not spelling.isprintable()


def merged_finding(names: Mapping[str, str], counts: Mapping[str, int], unit: str) -> list[Finding]:
    """Return the finding that some spellings were merged.

    Args:
        names: Spelling -> the one that it is written as from now on.
        counts: Spelling -> how often it occurs.
        unit: What is counted, for the message.
    """
    if not names:
        return []
    into: defaultdict[str, list[str]] = defaultdict(list)
    for spelling, name in sorted(names.items(), key=lambda pair: (-counts[pair[0]], pair[0])):
        into[name].append(f"{shown(spelling)} ({counts[spelling]})")
    told = [f"{', '.join(others)} into {shown(name)} ({counts.get(name, 0)})" for name, others in into.items()]
    rest = f", and {len(told) - 10} more" if len(told) > 10 else ""
    return [
        warning(
            "labels-merged",
            "Labels that differ only in blanks, capitals, Unicode form or the writing of a number were merged into the "
            f"most frequent spelling (number of {unit}): {'; '.join(told[:10])}{rest}.",
            "Write them alike; if they mean different things, give them names that differ in more than blanks and "
            "capitals.",
            sum(counts[spelling] for spelling in names),
            told,
        )
    ]
