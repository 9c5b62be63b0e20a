"""Spellings of tags: B-PER, "b-per " and B-Per are one tag, and O, o and 0 are all outside of entities.

`Targets.alike` calls `merge_tags` before the tags are read. Prefix and kind are looked at apart, because the kind of
B-Per and I-PER has to be one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain

from luthier.studies.findings import Finding
from luthier.trials.data.label_spellings import folded, merged_finding, one_spelling, visible
from luthier.trials.data.tabular import Table

_TAG = re.compile(r"([BIESLUM])-(.+)", re.IGNORECASE | re.DOTALL)
_BEGINS = "bsu"
"""Prefixes of an entity's first word."""


def merge_tags(tables: Mapping[str, Table], column: str) -> tuple[dict[str, Table], list[Finding]]:
    """Return the tables with one spelling for each tag, over all splits, and the finding about merged ones.

    Tags that are numbers of declared names stay; tags that are written as text follow the declared names.

    Args:
        tables: Split name -> its table.
        column: The tag column, which each table has.
    """
    counts: Counter[str] = Counter()
    declared = {name for table in tables.values() for name in table.class_names.get(column, ())}
    written = {}
    for name, table in tables.items():
        rows = table.columns[column]
        if not all(type(row) is list for row in rows):
            return dict(tables), []
        if set(map(type, chain.from_iterable(rows))) <= {str}:
            written[name] = table
            counts.update(chain.from_iterable(rows))
    names = _names(counts, declared)
    renamed = dict(tables)
    for name, table in written.items() if names else ():
        rows = [[names.get(tag, tag) for tag in row] for row in table.columns[column]]
        renamed[name] = replace(table, columns={**table.columns, column: rows})
    return renamed, merged_finding(names, counts, "words")


def _names(counts: Mapping[str, int], declared: Iterable[str]) -> dict[str, str]:
    """Return tag -> the tag that it is written as, for those that are not written as they are.

    Args:
        counts: Tag -> its words.
        declared: Tags that stay.
    """
    declared = set(declared)
    reader = _Reader((*counts, *declared))
    parts = {tag: reader.parts(tag) for tag in counts if tag.strip()}
    kinds: Counter[str] = Counter()
    for tag, (_, kind) in parts.items():
        kinds[kind] += counts[tag]
    kind_names = one_spelling(kinds, folded, {reader.parts(tag)[1] for tag in declared})
    names = {}
    for tag, (prefix, kind) in parts.items():
        name = prefix + kind_names.get(kind, kind)
        if name != tag and tag not in declared:
            names[tag] = name
    return names


class _Reader:
    """Takes tags apart, with an eye on all tags of the data.

    Args:
        tags: All that occur.
    """

    def __init__(self, tags: Iterable[str]) -> None:
        keys = {folded(tag) for tag in tags}
        matches = [match for key in keys if (match := _TAG.fullmatch(key))]
        self._begun = {match[2] for match in matches if match[1] in _BEGINS}
        whole = all(key in ("o", "0") or _TAG.fullmatch(key) for key in keys)
        self._prefixed = whole and (bool(self._begun) or all(match[1] == "i" for match in matches))
        self._outside = bool(self._begun) or self._prefixed or "O" in tags
        self._zero = self._outside and not any(key.isdigit() for key in keys - {"0"})

    def parts(self, tag: str) -> tuple[str, str]:
        """Return a tag's prefix with its hyphen, as a capital letter, and its kind; of O and of a bare kind ("", tag).

        A small letter and a hyphen are a prefix where every tag begins so, or where another tag begins an entity of
        the same kind: "e-mail" is a kind.
        """
        key = folded(tag)
        if self._outside and (key == "o" or (key == "0" and self._zero)):
            return "", "O"
        match = _TAG.fullmatch(tag.strip()) or _TAG.fullmatch(visible(tag))
        if match and (match[1].isupper() or self._prefixed or folded(match[2]) in self._begun):
            return f"{match[1].upper()}-", match[2]
        return "", tag.strip()
