"""The reader of each kind of file, by the ending of its name.

`data.sources` and `data.containers` call `read_file`; a compressed file has the reader of what it holds.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from luthier.trials.data.arrow import read_arrow, read_parquet
from luthier.trials.data.conll import read_conll
from luthier.trials.data.delimited import read_csv, read_tsv
from luthier.trials.data.foreign_files import refuse_foreign, renaming
from luthier.trials.data.lines import COLUMN, read_lines
from luthier.trials.data.records import read_json, read_jsonl
from luthier.trials.data.tabular import Table
from luthier.trials.data.text_files import first_bytes
from luthier.trials.data.words import read_words
from luthier.trials.errors import BadData
from luthier.trials.paths import FORMATS, kind_of


def _read_txt(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read lines of text where only texts are wanted, or a table. Raises BadData where it is neither."""
    texts = read_lines(file, name, path) if selection == {COLUMN} else None
    if texts is not None:
        return texts
    table = read_tsv(file, name, selection, path)
    if len(table.header) < 2 or not selection & set(table.header):
        columns = f"column{'s' * (len(selection) > 1)} {', '.join(sorted(selection))}"
        text = f"{name} is no table with the {columns}; write it as csv, with a line of column names first."
        raise BadData(text, *path)
    return table


FILE_READERS: Mapping[str, Callable[[Path, str, set[str], tuple[str, ...]], Table]] = {
    "csv": read_csv,
    "tsv": read_tsv,
    "json": read_json,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "conll": read_conll,
    "conllu": read_conll,
    "bio": read_conll,
    "iob": read_conll,
    "iob2": read_conll,
    "txt": _read_txt,
}
"""A file name's ending -> its reader: (file, its name in messages, the columns to read, the spec's path) -> table."""


def read_file(file: Path, name: str, roles: Mapping[str, str], path: tuple[str, ...]) -> Table:
    """Read the table in a file.

    Args:
        file: The resolved file.
        name: The file as the user wrote it, by which its kind is known.
        roles: Role -> the column that it is read from.
        path: The spec's path that names the file.

    Raises:
        BadData: The file is of no kind that is read, or cannot be read as what it is.
    """
    kind = kind_of(name)
    try:
        if kind not in FORMATS:
            start = first_bytes(file)
            refuse_foreign(start, name, path)
            text = f"{name} is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file.{renaming(start, kind)}"
            raise BadData(text, *path)
        if "tokens" in roles and kind in ("csv", "tsv", "txt"):
            table = read_words(kind, file, name, roles, path)
        else:
            table = FILE_READERS[kind](file, name, set(roles.values()), path)
    except OSError as error:
        raise BadData(f"{name} cannot be read: {error.strerror or error}. Check its permissions.", *path) from None
    return replace(table, folder=file.parent)
