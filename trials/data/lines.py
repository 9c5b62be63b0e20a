"""Plain text as a table: each line that is not blank is a text, as the hub's own reader of text files has it.

`data.readers` calls it for txt files where only texts are asked for, as for language models.
"""

import json
import re
from pathlib import Path

from luthier.studies.findings import note
from luthier.trials.data.tabular import Table
from luthier.trials.data.text_files import TextFile, read_text

COLUMN = "text"
"""The column that the lines are."""
_PARTS = re.compile(r"[,;|\t]")
_NAME = re.compile(r"[\w -]{1,40}")  # of a column


def read_lines(file: Path, name: str, path: tuple[str, ...]) -> Table | None:
    """Return the lines of a file as texts; None where its first line names columns.

    Args:
        file: The resolved file.
        name: The file as the user wrote it, for error messages.
        path: The spec's path that names the file.

    Raises:
        BadData: It is no text, has no line, or holds JSON.
    """
    text = read_text(file, name, path)
    lines = [(number, line.strip()) for number, line in enumerate(text.lines(), 1) if line.strip()]
    if not lines:
        raise text.refuse(" holds no text; write a text on each line.")
    first = lines[0][1]
    if "\t" in first or _names_columns(first, lines[1][1] if len(lines) > 1 else ""):
        return None
    _refuse_json(text, first)
    told = f"{name}: each of its {len(lines):,} lines is read as a text of its own, without blanks around it."
    cure = "Where texts have several lines, write them as jsonl: an object with the key text for each."
    return Table(
        name,
        path,
        [COLUMN],
        {COLUMN: [line for _, line in lines]},
        len(lines),
        lines=[number for number, _ in lines],
        findings=(note("lines-as-texts", told, len(lines), cure=cure),),
    )


def _names_columns(first: str, second: str) -> bool:
    """Return whether a first line is a table's header, by its names and the next line; prose says "text" too."""
    names = [part.strip(" \"'") for part in _PARTS.split(first)]
    fits = len(_PARTS.split(second)) >= len(names)
    return COLUMN in names and fits and all(_NAME.fullmatch(name) for name in names)


def _refuse_json(file: TextFile, first: str) -> None:
    """Raise BadData where the first line is an object, or begins a list of them."""
    try:
        is_object = isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        is_object = False
    if first in ("{", "["):
        raise file.refuse(" begins as JSON; give it a name that ends with .json.")
    if is_object:
        raise file.refuse(" holds a JSON object a line; give it a name that ends with .jsonl.")
