"""Tables of text whose fields are separated: the dialect that the whole file fits, or a sentence.

`data.readers` calls `read_csv` and `read_tsv`. The separator is the one whose header has the columns that are asked
for, else the one that every row agrees with. Rows are never lost: a file is read as it was written, or refused with its
line. Values are Python's text; pyarrow.csv is faster, but it guesses types (the label 01 becomes 1).
"""

import csv
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from luthier.trials.data.dialects import Fault, Read, escaped, names, plain, quoted
from luthier.trials.data.misfits import (
    escaped_ends,
    misread_header,
    misread_rows,
    refuse_drawing,
    refuse_no_values,
)
from luthier.trials.data.tabular import Table, check_unique
from luthier.trials.data.text_files import TextFile, read_text

_CELL_CHARACTERS = 1 << 27  # the csv module's own limit of 128 KiB is shorter than many a document
_SEPARATOR_LINE = re.compile(rb'(?:sep=(.)|"sep=(.)")[^\S\n]*\n', re.IGNORECASE)
_QUOTES_FIRST = (b'\t"', b'\n"', b'\r"')  # in a field
CSV, TSV = (",", ";", "\t", "|"), ("\t", ",", ";", "|")
"""What may be between two fields of a file of either ending, the usual first."""
_SPARK = (
    " Its quotes look escaped by backslashes, but not all in one way; write it with quotes doubled instead: Spark's "
    """option("escape", '"')."""
)


def read_csv(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read a file whose first line names the columns, separated by commas or what else fits. Raises BadData."""
    return read_delimited(read_text(file, name, path), selection, CSV)


def read_tsv(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read a file whose first line names the columns, separated by tabs or what else fits. Raises BadData."""
    return read_delimited(read_text(file, name, path), selection, TSV)


def read_delimited(file: TextFile, selection: set[str], separators: tuple[str, ...]) -> Table:
    """Read a file with the separator that its header shows, or else the one that all its rows fit.

    Args:
        file: The file.
        selection: The columns to read, as far as the file has them.
        separators: What may be between two fields, the usual first.

    Raises:
        BadData: No separator fits, or more than one.
    """
    csv.field_size_limit(_CELL_CHARACTERS)
    refuse_drawing(file)
    first = 1
    if found := _SEPARATOR_LINE.match(file.data[:16]):  # Excel's own first line
        separators = ((found[1] or found[2]).decode("latin-1"),)
        file, first = TextFile(file.name, file.path, file.data[found.end() :]), 2
    headers = {separator: _header(file, separator, selection) for separator in separators}
    fitting = [separator for separator, header in headers.items() if selection <= set(header)]
    wide = [separator for separator, header in headers.items() if len(header) > 1 and separator != separators[0]]
    if not fitting and file.data.strip() and (cause := misread_header(file, selection, separators, headers)):
        raise file.refuse(cause)
    read: dict[str, Read] = {}
    faults: list[Fault] = []
    for separator in fitting[:1] or [separators[0], *wide]:
        try:
            read[separator] = _rows(file, separator, selection, first)
        except Fault as fault:
            faults.append(fault)
        if separator == separators[0] and separator in read and len(headers[separator]) > 1:
            break
    several = [separator for separator in read if len(headers[separator]) > 1] or list(read)
    if not several:
        raise file.refuse(misread_rows(file, (fitting or separators)[0], faults[0]) or faults[0].text)
    if len(several) > 1 and several[0] != separators[0]:
        text = f": all its rows fit {' and '.join(map(repr, several))} as the separator; write it with commas."
        raise file.refuse(text)
    rows = read[several[0]]
    refuse_no_values(file, rows)
    check_unique([column for column in rows.header if column], file.name, file.path)
    return Table(file.name, file.path, rows.header, rows.columns, len(rows.lines), lines=rows.lines)


def _header(file: TextFile, separator: str, selection: set[str]) -> list[str]:
    """Return the names that the header has with a separator; one or none where it is not the right one."""
    try:
        rows = csv.reader(file.lines(), delimiter=separator, strict=True)
        return names(next((row for row in rows if any(row)), []), selection)
    except csv.Error:
        return names(next(file.lines(), "").rstrip("\r\n").split(separator), selection)


def _rows(file: TextFile, separator: str, selection: set[str], first: int) -> Read:
    """Return the rows of a file, quoted as all of them show. Raises Fault where no way of quoting fits them all."""
    given = (file, separator, selection, first)
    if separator == "\t":
        return _with_tabs(*given)
    read = _try(quoted, *given)
    if b'\\"' in file.data:
        read = _by_escapes(read, *given)
    if isinstance(read, Fault):
        raise read
    if swallowed := _rows_swallowed(read, separator, selection):
        raise swallowed
    return read


def _try(dialect: Callable[..., Read], *given: object) -> Read | Fault:
    """Return what a file holds in a dialect, or the fault."""
    try:
        return dialect(*given)
    except Fault as fault:
        return fault


def _by_escapes(read: Read | Fault, file: TextFile, separator: str, selection: set[str], first: int) -> Read | Fault:
    """Return a file's rows, read with backslashes as escapes where that alone fits; `read` is what it holds without."""
    fits = isinstance(read, Read) and read.odd is None
    other = _try(partial(escaped, strict=isinstance(read, Read)), file, separator, selection, first)
    if isinstance(other, Fault):
        return Fault(read.line, read.text + _SPARK) if isinstance(read, Fault) else read
    if not isinstance(read, Read) or not fits:
        return other
    if read.columns == other.columns and read.header == other.header:
        return read
    pairs = (zip(values, other.columns.get(column, ()), strict=False) for column, values in read.columns.items())
    row = min((next((i for i, (a, b) in enumerate(both) if a != b), 0) for both in pairs), default=0)
    text = f": its row {row + 1} (line {read.lines[row]}) differs with and without backslashes as escapes."
    return Fault(read.lines[row], text + _SPARK)


def _with_tabs(file: TextFile, separator: str, selection: set[str], first: int) -> Read:
    """Return the rows of a file with tabs, in which quotes are text unless it is consistently quoted. Raises Fault."""
    given = (file, separator, selection, first)
    if said := escaped_ends(file, selection):
        raise Fault(first, said)
    as_text = _try(plain, *given)
    if not file.data.startswith(b'"') and not any(quote in file.data for quote in _QUOTES_FIRST):
        if isinstance(as_text, Fault):
            raise as_text
        return as_text
    read = _try(quoted, *given)
    if b'\\"' in file.data and isinstance(read, Fault) and isinstance(as_text, Fault):
        read = _by_escapes(read, *given)
    if isinstance(read, Fault) or read.odd is not None:
        if isinstance(as_text, Read):
            return as_text
        if isinstance(read, Read):
            text = f": line {read.odd} has a quote inside a field without quotes, and other fields need theirs; "
            raise Fault(read.odd or 0, text + 'write that field in quotes, and its quote twice ("").')
        raise max(read, as_text, key=lambda fault: fault.line)  # the one that read more of the file
    if isinstance(as_text, Fault) or (selection <= set(read.header) and not selection <= set(as_text.header)):
        return read
    if len(read.lines) == len(as_text.lines):
        return read if _consistent(as_text, read) else as_text
    if _rows_swallowed(read, separator, selection):
        return as_text
    line = read.swallowed[0][0] if read.swallowed else read.lines[0]
    text = f": the quote in line {line} may be text, or may join that line to the next; "
    raise Fault(line, text + "write all fields in quotes, or none.")


def _consistent(as_text: Read, read: Read) -> bool:
    """Return whether quotes around cells are no text: in each column all cells have them, or those that need them."""
    for column, values in read.columns.items():
        pairs = list(zip(as_text.columns.get(column, ()), values, strict=False))
        bare = [value for raw, value in pairs if raw != value and value and '"' not in value]
        if bare and any(raw == value and value for raw, value in pairs):
            return False
    return True


def _rows_swallowed(read: Read, separator: str, selection: set[str]) -> Fault | None:
    """Return the fault that a quote joined rows: each line could be a row, with known values in some column."""
    if not read.swallowed:
        return None
    inside = {line for line, _ in read.swallowed}
    for column, values in read.columns.items():
        known = {value for value, line in zip(values, read.lines, strict=True) if line not in inside}
        i = read.header.index(column)
        for line, texts in read.swallowed:
            if known.issuperset(text.rstrip("\r\n").split(separator)[i] or None for text in texts):
                last = line + len(texts) - 1
                return Fault(
                    line,
                    f": the quote in line {line} closes in line {last}, and each line between looks like a row; remove "
                    'the quote, or put the whole field into quotes and write the quote twice ("").',
                )
    return None
