"""Files that are no table of text, known by their first bytes: what each is, and what makes a table of it.

The readers of text, Parquet and Arrow ask `refuse_foreign`, and `data.readers` where a file's ending says nothing.
"""

import shlex
from pathlib import Path

from luthier.trials.errors import BadData

_EXCEL = (
    'is an Excel workbook; save it in Excel as "CSV UTF-8", or convert it: pip install openpyxl, then python -c '
    '"import pandas; pandas.read_excel({old!r}, dtype=str, keep_default_na=False).to_csv({new!r}, index=False)".'
)
_PANDAS = '; with pandas: python -c "import pandas; pandas.read_%s({old!r}).to_csv({new!r}, index=False)".'
_INSIDE = ", and give the file or the folder that comes out."
_LIBRARY = "; read it with the library that wrote it, and write the table as csv or Parquet."
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\xd0\xcf\x11\xe0", _EXCEL.replace("openpyxl", "xlrd")),
    (b"PK\x03\x04", "is a zip archive; unpack it with `unzip {name}`" + _INSIDE),
    (b"PK\x05\x06", "is an empty zip archive."),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it with `7z x {name}`" + _INSIDE),
    (b"Rar!\x1a\x07", "is a rar archive; unpack it with `unrar x {name}`" + _INSIDE),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it with `zstd -d {name}` and give the result."),
    (b"\x04\x22\x4d\x18", "is compressed with lz4; unpack it with `lz4 -d {name}` and give the result."),
    (b"PAR1\x15", "is a Parquet file; give it the ending .parquet."),
    (b"ARROW1\0\0", "is an Arrow file; give it the ending .arrow."),
    (b"FEA1\0", "is a Feather file of version 1" + _PANDAS % "feather"),
    (b"ORC", "is an ORC file" + _PANDAS % "orc"),
    (b"<stata_dta>", "is a file of Stata" + _PANDAS % "stata"),
    (b"$FL2@(#)", "is a file of SPSS; pip install pyreadstat, then" + _PANDAS.removeprefix("; with pandas:") % "spss"),
    (b"RDX2\n", "is a file of R; write the table there: write.csv(table, {new!r}, row.names = FALSE)."),
    (b"RDX3\n", "is a file of R; write the table there: write.csv(table, {new!r}, row.names = FALSE)."),
    (b"X\n\0\0\0", "is a file of R; write the table there: write.csv(table, {new!r}, row.names = FALSE)."),
    (b"Obj\x01", "is an Avro file" + _LIBRARY),
    (b"\x93NUMPY", "is an array of NumPy" + _LIBRARY),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file" + _LIBRARY),
    (b"%PDF-", "is a PDF document; export its table as csv."),
    (b"{\\rtf", "is a text document (RTF); save it as plain text, in UTF-8."),
    (b"SQLite format 3\0", "is an SQLite database; export the table as csv."),
)
_TEXTS: tuple[tuple[bytes, str], ...] = (  # in any case, and after blanks
    (b"version https://git-lfs", "is only the pointer to a file of Git LFS; fetch the file: `git lfs pull`."),
    (b"<!doctype html", "is a web page, not the data; download the raw file."),
    (b"<html", "is a web page, not the data; download the raw file."),
    (b"<?xml", "is an XML file; write its table as csv."),
)
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_TAR_MARK, _TAR_PLACE = b"ustar", 257
_SYNONYMS = {
    "ndjson": "jsonl", "jsonlines": "jsonl", "jl": "jsonl", "tab": "tsv", "pq": "parquet", "parq": "parquet",
    "ipc": "arrow", "feather": "arrow",
}  # fmt: skip


def refuse_foreign(data: bytes, name: str, path: tuple[str, ...], but: bytes = b"\0") -> None:
    """Raise BadData for a file whose first bytes are those of something that is no text.

    Args:
        data: The file, or its beginning and its end.
        name: The file as the user wrote it.
        path: The spec's path that names it.
        but: The first bytes of what it may be nevertheless.
    """
    if said := foreign(data, name, but):
        raise BadData(f"{name} {said}", *path)


def foreign(data: bytes, name: str, but: bytes = b"\0") -> str | None:
    """Return the end of a sentence that says what a file is that is no text, and the cure; None for other files."""
    new = str(Path(name).with_suffix(".csv"))
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    found = [text for mark, text in _FOREIGN if data.startswith(mark)]
    found += [text for mark, text in _TEXTS if start.startswith(mark)]
    said = found[0] if found and not data.startswith(but) else None
    if said and data.startswith(b"ORC") and b"\0" not in data:  # a column may be called so
        said = None
    if data[_TAR_PLACE:].startswith(_TAR_MARK) and b"\0" in data[:_TAR_PLACE]:
        said = "is a tar archive; unpack it with `tar -xf {name}`" + _INSIDE
    elif said is None and data.startswith(_PICKLE):
        said = "is a pickle, which can run code and is never loaded; read it yourself, and write the table as csv."
    elif said is not None and "is a zip" in said and b"xl/" in data:
        said = _EXCEL
    elif said is not None and "is a zip" in said and b"opendocument.spreadsheet" in data[:200]:
        said = 'is an OpenDocument table; save it as "Text CSV" in UTF-8.'
    return None if said is None else said.format(name=shlex.quote(name), old=name, new=new)


def renaming(data: bytes, kind: str) -> str:
    """Return a sentence, with a blank before it, that says which ending a file of an unknown one should have, or "".

    Args:
        data: The beginning of the file.
        kind: Its ending.
    """
    if kind in _SYNONYMS:
        return f" Give it the ending .{_SYNONYMS[kind]}."
    try:
        text = data[:1_000].decode(errors="strict" if len(data) < 1_000 else "ignore")
    except UnicodeDecodeError:
        return ""
    if "\0" in text or not text.strip():
        return ""
    if text.lstrip()[0] in "[{":
        return " It looks like JSON: give it the ending .json, or .jsonl where each line is an object of its own."
    return " If it is a table of text whose first line names the columns, give it the ending .csv, or .tsv with tabs."
