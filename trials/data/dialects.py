"""The ways to write a table as text: quoted as in RFC 4180, tabs and no quotes, or quotes escaped by backslashes.

`data.delimited` tries them on a whole file and takes the one that fits. Each yields its rows to `collect`, which checks
that every row has a value for every column, so none of them can lose or join rows without a fault.
"""

import csv
import re
from array import array
from collections.abc import Iterable, Iterator, MutableSequence
from dataclasses import dataclass, field

from luthier.trials.data.text_files import TextFile

Rows = Iterator[tuple[int, list[str]]]
"""The number of a row's first line in the file, and the row's values."""


INVISIBLE = " \t\xa0\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"
"""Blanks, byte order marks and marks without a width."""


class Fault(Exception):
    """A file cannot be read in a dialect. `line`: where that shows; `text`: the end of a sentence about the file."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line, self.text = line, text


@dataclass
class Read:
    """What a file holds in one dialect.

    Attributes:
        header: The names of the columns.
        columns: The selected columns.
        lines: The line of each row.
        odd: The line of the first quote inside a field that has none around it.
        swallowed: Lines that one row takes although each looks like a row: (the row's line, the lines' text).
    """

    header: list[str]
    columns: dict[str, list[str]]
    lines: MutableSequence[int] = field(default_factory=lambda: array("q"))
    odd: int | None = None
    swallowed: list[tuple[int, list[str]]] = field(default_factory=list)


def names(row: Iterable[str], selection: set[str]) -> list[str]:
    """Return the names in a header, without blanks and invisible marks around them unless the spec has these too."""
    return [name if name in selection else name.strip(INVISIBLE) for name in row]


def collect(rows: Rows, selection: set[str]) -> Read:
    """Return the selected columns of rows whose first is the header.

    Empty lines are no rows, and neither are rows of blanks alone at the end, which spreadsheets leave.

    Raises:
        Fault: A row has another number of fields than the header, or a value in a column at the end that has no name.
    """
    header = next((names(row, selection) for _, row in rows if any(row)), [])
    width, named = len(header), len(header)
    while named and not header[named - 1]:
        named -= 1
    read = Read(header, {column: [] for column in header if column in selection})
    appends = [(values.append, header.index(column)) for column, values in read.columns.items()]
    lines = read.lines
    full = 0  # rows up to the last one that has a value
    ragged: Fault | None = None  # a row of separators only, which may stand at the end
    for line, row in rows:
        if len(row) != width:
            if not row:
                continue
            fault = _ragged(line, len(lines) + 1, len(row), width)
            if any(map(str.strip, row)):
                raise ragged or fault
            ragged = ragged or fault
            continue
        for append, i in appends:
            append(row[i])
        lines.append(line)
        if any(map(str.strip, row)):
            if ragged is not None:
                raise ragged
            if named < width and any(map(str.strip, row[named:])):
                raise _unnamed(line, len(lines), row, named)
            full = len(lines)
    for values in read.columns.values():
        del values[full:]
    del lines[full:]
    return read


def _ragged(line: int, number: int, fields: int, width: int) -> Fault:
    return Fault(
        line,
        f": row {number} (line {line}) has {fields} fields where the header has {width}; fix the row, or put quotes "
        "around a field that holds the separator.",
    )


def _unnamed(line: int, number: int, row: list[str], named: int) -> Fault:
    i = next(i for i, value in enumerate(row) if i >= named and value.strip())
    return Fault(
        line,
        f": row {number} (line {line}) has {row[i]!r} in column {i + 1}, which has no name; name the column, or put "
        "quotes around a field that holds the separator.",
    )


def quoted(file: TextFile, separator: str, selection: set[str], first: int) -> Read:
    """Read a file whose fields may be in quotes; a quote inside these is written twice (RFC 4180).

    Args:
        file: The file.
        separator: What is between two fields.
        selection: The columns to read.
        first: The number of the file's first line, for messages.

    Raises:
        Fault: The file is not written so.
    """
    found = Read([], {})
    read = collect(_quoted_rows(file, separator, first, found), selection)
    read.odd, read.swallowed = found.odd, found.swallowed
    return read


def _quoted_rows(file: TextFile, separator: str, first: int, found: Read) -> Rows:
    """Yield the rows; note in `found` what may have been meant otherwise. Raises Fault."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for text in file.lines():
            taken.append(text)
            yield text

    quotes = b'"' in file.data
    reader = csv.reader(lines() if quotes else file.lines(), delimiter=separator, strict=True)
    line, number, width = first, 0, 0
    try:
        for row in reader:
            yield line, row
            width = width or len(row)
            if quotes:
                if '"' in taken[0] or len(taken) > 1:
                    _note(found, row, taken, line, separator, width)
                taken.clear()
            number += bool(row)
            line = reader.line_num + first
    except csv.Error:
        text = f": row {max(number, 1)} (line {line}) cannot be read. Check its quotes: a quote inside a quoted "
        raise Fault(line, text + 'field is written twice ("").') from None


def _note(found: Read, row: list[str], taken: list[str], line: int, separator: str, width: int) -> None:
    """Note a quote inside a field without quotes, and lines of a row of which each could be a row. Raises Fault."""
    if found.odd is None:
        text = "".join(taken)
        for value in row:
            if '"' in value and '"' + value.replace('"', '""') + '"' not in text:
                if value.startswith(" ") and value.strip(" ").startswith('"') and value.endswith('"'):
                    raise Fault(line, f": line {line} has a blank between a separator and a quote; remove the blank.")
                found.odd = line
                break
    if len(taken) > 1 and all(text.count(separator) == width - 1 for text in taken):
        found.swallowed.append((line, list(taken)))


def plain(file: TextFile, separator: str, selection: set[str], first: int) -> Read:
    """Read a file in which quotes are text like any other; the arguments and faults are those of `quoted`."""
    reader = csv.reader(file.lines(), delimiter=separator, quoting=csv.QUOTE_NONE)
    return collect(enumerate(reader, first), selection)


_PAIRS = re.compile(r"\\(.)", re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\])')


class _Unsure(Fault):
    """Backslashes are not used in one way throughout."""


def escaped(file: TextFile, separator: str, selection: set[str], first: int, strict: bool) -> Read:
    r"""Read a file whose quotes are escaped by backslashes, as Spark writes them: "he said \"hi\", and left".

    Outside quotes a backslash is text, as Spark has it; where a quote is escaped there too, as Python's csv module may
    do, all of them are escapes.

    Args:
        file: The file.
        separator: What is between two fields.
        selection: The columns to read.
        first: The number of the file's first line, for messages.
        strict: Whether a backslash in quotes must always escape, as a writer that escapes backslashes too has it.

    Raises:
        Fault: The file is not written so.
    """
    text = file.text()
    lone = double = bare_lone = bare_quote = None
    for line, fields in _escaped_fields(text, separator, first):
        for inner, bare in fields:
            if inner is not None and "\\" in inner:
                kinds = set(_PAIRS.findall(inner))
                lone = lone or (line if kinds - {'"', "\\"} else None)
                double = double or (line if "\\" in kinds else None)
            elif bare is not None and "\\" in bare:
                bare_quote = bare_quote or (line if '\\"' in bare else None)
                bare_lone = bare_lone or (line if "\\" in _ESCAPE.sub("", bare) else None)
    unsure = (lone and (strict or double)) or (bare_quote and bare_lone)
    if unsure:
        raise _Unsure(unsure, f": line {unsure} has a backslash that escapes nothing, and others escape a quote.")

    def value(inner: str | None, bare: str | None) -> str:
        if inner is None:
            return _ESCAPE.sub(r"\1", bare or "") if bare_quote else bare or ""
        return _ESCAPE.sub(r"\1", inner) if "\\" in inner else inner

    def rows() -> Rows:
        for line, fields in _escaped_fields(text, separator, first):
            yield line, [] if fields == [(None, "")] else [value(inner, bare) for inner, bare in fields]

    return collect(rows(), selection)


def _escaped_fields(text: str, separator: str, first: int) -> Iterator[tuple[int, list[tuple[str | None, str | None]]]]:
    """Yield each row's line and its fields: (what is in quotes, None) or (None, what has none). Raises Fault."""
    mark = re.escape(separator)
    one = re.compile(rf'(?:"((?:[^"\\]++|\\.)*+)"|((?:[^"\\\r\n{mark}]++|\\"|\\)*+))({mark}|\r\n|\n|\r|\Z)', re.DOTALL)
    place, line = 0, first
    fields: list[tuple[str | None, str | None]] = []
    start = line
    while place < len(text) or fields:
        found = one.match(text, place)
        if found is None:
            raise Fault(line, f": line {line} cannot be read: a quote is neither escaped nor at the end of a field.")
        inner, bare, end = found.groups()
        fields.append((inner, bare))
        place = found.end()
        line += (inner or "").count("\n")
        if end != separator:
            yield start, fields
            line += 1
            start, fields = line, []
