"""Tables with a word a row, as sentences: a column says the sentence of each word, or blank lines do.

`data.readers` calls `read_words` for tagged words in csv, tsv and txt files.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.trials.data.conll import ALONE, looks_tagged, sentences
from luthier.trials.data.delimited import CSV, TSV, read_delimited
from luthier.trials.data.tabular import Table
from luthier.trials.data.text_files import TextFile, read_text
from luthier.trials.errors import BadData

_SENTENCE = re.compile(r"sent(ence)?s?[ _.-]*(#|id|ids|idx|index|no|nr|num|number)?", re.IGNORECASE)


def read_words(kind: str, file: Path, name: str, roles: Mapping[str, str], path: tuple[str, ...]) -> Table:
    """Read tagged words.

    Args:
        kind: csv, tsv or txt. The last two may have no header and blank lines between sentences, as CoNLL has it.
        file: The resolved file.
        name: The file as the user wrote it, for error messages.
        roles: Role -> the column that it is read from.
        path: The spec's path that names the file.

    Raises:
        BadData: It cannot be read, or it is not certain where a sentence ends.
    """
    text = read_text(file, name, path)
    selection = set(roles.values())
    if kind == "txt" or (kind == "tsv" and looks_tagged(text)):
        return sentences(text, selection)
    separators = CSV if kind == "csv" else TSV
    table = read_delimited(text, selection, separators)
    if not selection.issubset(table.header) or not table.rows:
        return table
    column = next((column for column in table.header if _SENTENCE.fullmatch(column) and column not in selection), None)
    if column is not None:
        table = read_delimited(text, selection | {column}, separators)
        starts = _starts(table, column)
    else:
        starts = _starts_after_blank_lines(text, table, roles["tokens"])
    return _grouped(table, starts, roles)


def _starts(table: Table, column: str) -> list[int]:
    """Return the first row of each sentence: where the column has a value, another than before. Raises BadData."""
    values = [value.strip() for value in table.columns[column]]
    if not values[0]:
        raise BadData(f"{table.name}, {table.where(0)}: column {column!r} is empty; name its sentence.", *table.path)
    named = [i for i, value in enumerate(values) if value]  # the others belong to the sentence above
    starts = [i for k, i in enumerate(named) if k == 0 or values[i] != values[named[k - 1]]]
    seen: set[str] = set()
    for i in starts:
        if values[i] in seen:
            text = f"{table.name}, {table.where(i)}: the sentence {values[i]!r} of column {column!r} was there before; "
            raise BadData(text + "give each sentence a name of its own, and keep its words together.", *table.path)
        seen.add(values[i])
    return starts


def _starts_after_blank_lines(file: TextFile, table: Table, column: str) -> list[int]:
    """Return the first row of each sentence, where blank lines are between them. Raises BadData where none are."""
    lines = table.lines or ()
    starts = [i for i in range(table.rows) if i == 0 or lines[i] > lines[i - 1] + 1]
    if len(starts) > 1 and b'"' not in file.data:  # quotes may hold line ends, which are no blank lines
        return starts
    if any(len(value.split()) > 1 for value in table.columns[column]):
        return []
    raise file.refuse(
        f": column {column!r} holds a word a row, and no column says where a sentence begins; add one called "
        "sentence_id, or write the data as jsonl or CoNLL."
    )


def _grouped(table: Table, starts: list[int], roles: Mapping[str, str]) -> Table:
    """Return a table with a row for each sentence; without `starts`, the table as it is. Raises BadData."""
    if not starts:
        return table
    if len(starts) == table.rows > ALONE:
        text = f"{table.name}: each word would be a sentence of its own. Say in a column sentence_id which sentence a "
        raise BadData(text + "word is in, or remove the blank lines inside sentences.", *table.path)
    ends = [*starts[1:], table.rows]
    columns: dict[str, list[Any]] = {}
    for role, column in roles.items():
        values = table.columns[column]
        groups = [values[start:end] for start, end in zip(starts, ends, strict=True)]
        if role in ("tokens", "label"):
            columns[column] = groups
            continue
        for start, group in zip(starts, groups, strict=True):
            if len(set(group)) > 1:
                text = f"{table.name}, {table.where(start)}: column {column!r} differs within the sentence; "
                raise BadData(text + "a sentence has one.", *table.path)
        columns[column] = [group[0] for group in groups]
    lines = [table.lines[start] for start in starts] if table.lines else None
    return replace(table, columns=columns, rows=len(starts), lines=lines)
