"""A table: what is read from a file, a folder or a split, with a name for each row in error messages.

The readers of every format make one. Nothing here opens a file, nor a path that a table names.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.studies.findings import Finding
from luthier.trials.errors import BadData


@dataclass(frozen=True)
class Table:
    """Some columns of one file, folder or split.

    Attributes:
        name: The source as the user wrote it, for error messages.
        path: The spec's path that names the source.
        header: Every column of the source.
        columns: The selected columns that the source has -> one value per row.
        rows: The number of rows.
        class_names: Column -> names of its integer classes.
        lines: The line of each row, for text files.
        parts: The tables of which this one is the rows, one after the other, for error messages.
        rows_named: The name of each row, where rows are files of a folder.
        folder: The folder that relative paths in the table start from.
        own_folders: Folders outside the data roots in which paths may lie nevertheless: the hub's caches.
        findings: What of the source is passed over.
    """

    name: str
    path: tuple[str, ...]
    header: list[str]
    columns: Mapping[str, list[Any]]
    rows: int
    class_names: Mapping[str, list[str]] = field(default_factory=dict)
    lines: Sequence[int] | None = None
    parts: "tuple[Table, ...]" = ()
    rows_named: list[str] | None = None
    folder: Path | None = None
    own_folders: tuple[Path, ...] = ()
    findings: tuple[Finding, ...] = ()

    def where(self, row: int) -> str:
        """Return the name of a row in an error message; `row` counts from 0, the message from 1, without the header."""
        for part in self.parts:
            if row < part.rows:
                return f"{part.where(row)} of {Path(part.name).name}"
            row -= part.rows
        if self.rows_named:
            return self.rows_named[row]
        return f"row {row + 1}" + (f" (line {self.lines[row]})" if self.lines else "")


def check_unique(header: list[str], name: str, path: tuple[str, ...]) -> None:
    """Raise BadData when two columns have one name."""
    for column, count in Counter(header).items():
        if count > 1:
            raise BadData(f"{name} has more than one column called {column!r}; rename all but one.", *path)
