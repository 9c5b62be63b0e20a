"""Why a table of text is not what it seems: the likely cause in a sentence, with its cure.

`data.delimited` asks it where a header lacks the columns that are asked for, where rows fit no way of writing, and
about cells that are no values. Nothing is read differently for it.
"""

import csv
import itertools
import json
import re
from collections.abc import Mapping, Sequence

from luthier.trials.data.dialects import INVISIBLE, Fault, Read, collect, names
from luthier.trials.data.text_files import TextFile

_LOOKED_AT = 20  # lines at the beginning that may hold the header
_ROWS = 1_000  # rows that tell whether the first line is one of them
_UNUSUAL = ("^", "~", "\x01", "\x1f", "||", "::", "\uff0c", "\uff1b", "\xa6", "#", "&", "/", "  +", " ")
_DRAWN = re.compile(rb"(?=.*[|+])[ |+:-]*-{3,}[ |+:-]*\r?")
_QUOTES = "'\u2018\u2019\u201c\u201d\xab\xbb`"
_ENDS_IN_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\(?:\t|\r?\n)")
_NO_VALUES = {
    "\\N": "a database's mark of an empty value",
    **dict.fromkeys(
        ("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!"), "a spreadsheet's error"
    ),
}


def refuse_drawing(file: TextFile) -> None:
    """Raise BadData for a table that is drawn with lines of dashes, as in Markdown and terminals."""
    for number, line in enumerate(file.data[: 1 << 16].split(b"\n")[:2], 1):
        if _DRAWN.fullmatch(line):
            text = f": line {number} is a line of dashes, so the table is drawn (Markdown, psql); export it as csv."
            raise file.refuse(text)


def misread_header(
    file: TextFile, selection: set[str], separators: Sequence[str], headers: Mapping[str, list[str]]
) -> str | None:
    """Return why the first line has not the columns that are asked for, as the end of a sentence; None if unknown.

    Args:
        file: The file.
        selection: The columns that are asked for.
        separators: What may be between two fields, the usual first.
        headers: Separator -> the names in the first line.
    """
    lines = [line.rstrip("\r\n") for line in itertools.islice(file.lines(), _LOOKED_AT)]
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip()[:1] in ("{", "[") and _is_json(first):
        return ": its first line is JSON; give it the ending .jsonl, or .json where it is one value."
    for number, line in enumerate(lines[1:], 2):
        if any(selection <= set(_cells(line, separator)) for separator in separators):
            return f": line {number} names the columns, and lines stand before it; remove those."
    for mark in _UNUSUAL:
        cells = re.split(mark if mark == "  +" else re.escape(mark), first)
        if selection <= {cell.strip(" \t\"'") for cell in cells}:
            shown = "blanks" if mark in ("  +", " ") else repr(mark)
            return f": fields of its first line are separated by {shown}, which is not read; write it with commas."
    if any(selection <= {name.strip(_QUOTES) for name in header} for header in headers.values()):
        return f': its names of columns are in the quotes {first.strip()[:1]}, which are text here; quote with ".'
    whole = next(csv.reader([first]), [])
    if first[:1] == '"' and len(whole) == 1 and any(selection <= set(_cells(whole[0], s)) for s in separators):
        return ": each line is in quotes as a whole, which makes it one field; remove the quotes around the lines."
    return _headless(file, next((s for s in separators if len(headers[s]) > 1), separators[0]))


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _cells(line: str, separator: str) -> list[str]:
    try:
        return names(next(csv.reader([line], delimiter=separator), []), set())
    except csv.Error:
        return []


def _headless(file: TextFile, separator: str) -> str | None:
    """Return that the first line is a row, where it holds a value that other rows have in the same column."""
    try:
        rows = [row for row in itertools.islice(csv.reader(file.lines(), delimiter=separator), _ROWS) if any(row)]
    except csv.Error:
        return None
    first = rows[0] if rows else []
    alike = [row for row in rows[1:] if len(row) == len(first)]
    for i, value in enumerate(first):
        if value.strip() and sum(row[i] == value for row in alike) > max(1, len(alike) // 20):
            return (
                f": its first line is a row like the others (they have {value[:60]!r}, too), and no header; write a "
                f"line with a name for each of its {len(first)} columns before it."
            )
    return None


def misread_rows(file: TextFile, separator: str, fault: Fault) -> str | None:
    """Return why rows have another number of fields than the header, as the end of a sentence; None if unknown."""
    try:
        rows = [row for row in csv.reader(file.lines(), delimiter=separator) if any(row)]
    except csv.Error:
        return None
    if not rows:
        return None
    line = next(itertools.islice(file.lines(), fault.line - 1, None), "").strip()
    if line and line[0] in _QUOTES and any(mark + separator in line for mark in _QUOTES):
        return f'{fault.text} Its fields seem to be in the quotes {line[0]}, which are text here; quote with ".'
    width = len(rows[0])
    if len(rows) > 1 and all(len(row) == width + 1 for row in rows[1:]):
        if not any(row[-1] for row in rows[1:]):
            return ": each row ends with a separator, and the header does not; remove it from the rows."
        return (
            f": each row has {width + 1} fields and the header {width}. If the first are names of rows, as R writes "
            "them, name that column in the header; else put quotes around fields that hold the separator."
        )
    if line == "\\.":
        return f": its line {fault.line}, \\., is the end mark of PostgreSQL's COPY; remove it."
    if line == "\x1a":
        return f": its line {fault.line} is the end mark of old programs (0x1A); remove it."
    if file.data.count(b"\r") > file.data.count(b"\r\n") and b"\n" in file.data:
        return f"{fault.text} Lines of it hold a carriage return, which ends a line; remove them: tr -d '\\r'."
    return None


def escaped_ends(file: TextFile, selection: set[str]) -> str | None:
    """Return that backslashes stand before tabs and ends of lines inside fields, where the rows fit that.

    MySQL (INTO OUTFILE), Hive and PostgreSQL write so. Without it, one row becomes two, or its fields are shifted.
    """
    likely = any(end in file.data for end in (b"\\\t", b"\\\n", b"\\\r\n"))
    found = _ENDS_IN_ESCAPE.search(file.data) if likely else None
    if found is None:
        return None
    try:
        reader = csv.reader(file.lines(), delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\")
        collect(((reader.line_num, row) for row in reader), selection)
    except (Fault, csv.Error):
        return None
    return (
        f": line {file.line_of(found.start())} has a backslash before a tab or the end of the line, as databases write "
        "these inside a field; export it as csv with quotes (MySQL: ENCLOSED BY '\"' ESCAPED BY '\"')."
    )


def _same(value: str, name: str) -> bool:
    """Return whether a value is a column's name, in any case, and with blanks or a byte order mark around it."""
    return value.strip(INVISIBLE).casefold() == name.strip(INVISIBLE).casefold()


def refuse_no_values(file: TextFile, read: Read) -> None:
    """Raise BadData for a header among the rows, and for cells that hold an error or the mark of an empty value."""
    likely = sorted(cell for cell in _NO_VALUES if cell.encode() in file.data)
    for column, values in read.columns.items():
        for cell in (cell for cell in likely if cell in values):
            i = values.index(cell)
            text = f": row {i + 1} (line {read.lines[i]}) has {cell}, {_NO_VALUES[cell]}, in column {column!r}; "
            raise file.refuse(text + "fill it in or remove the row.")
    if len(read.columns) < 2:
        return
    column = min(read.columns, key=lambda name: len(set(read.columns[name][:_ROWS])))  # the label, mostly
    like_header = {value for value in set(read.columns[column]) if _same(value, column)}
    rows = (i for i, value in enumerate(read.columns[column]) if value in like_header) if like_header else ()
    again = next((i for i in rows if all(_same(values[i], name) for name, values in read.columns.items())), None)
    if again is not None:
        text = f": row {again + 1} (line {read.lines[again]}) is the header again, as when files are joined; remove it."
        raise file.refuse(text)
