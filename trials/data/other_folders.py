"""What a folder is in which no table was found, or whose tables mean something else: the sentence with the cure.

`data.sources` asks `describe` before it says that a folder is none, and `data.containers` calls `refuse_lakes`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from luthier.trials.data.foreign_files import foreign
from luthier.trials.data.text_files import first_bytes
from luthier.trials.errors import BadData
from luthier.trials.paths import FORMATS, kind_of

_PARTITION = re.compile(r"([^=]+)=.*")
_LAKES = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table", "metadata": "an Iceberg table"}
_LOOKED_AT = 1_000  # entries of a folder
_NAMED = 5


def refuse_lakes(folder: Path, name: str, path: tuple[str, ...]) -> None:
    """Raise BadData for a table whose log says which files count; others hold deleted rows. Raises OSError."""
    for log, what in _LAKES.items():
        inside = folder / log
        if inside.is_dir() and (log != "metadata" or any(inside.glob("*.metadata.json"))):
            text = f"{name} is {what} ({log}): its files hold rows that were deleted or changed since; write the table "
            raise BadData(text + "as it is now into one Parquet file.", *path)


def describe(folder: Path, name: str) -> str:
    """Return a sentence on a folder in which no table was found. Raises OSError."""
    entries = sorted(folder.iterdir())[:_LOOKED_AT]
    shown = [entry for entry in entries if not entry.name.startswith((".", "_"))]
    own = [entry for entry in shown if not entry.is_symlink()]  # a link may lead out of the data roots
    folders = [entry for entry in own if entry.is_dir()]
    files = [entry for entry in own if entry.is_file()]
    if not shown:
        hidden = f" but {_listed(entries)}, which are hidden" if entries else ""
        return f"{name} holds no file{hidden}; give the folder or the file of the data."
    if keys := {found[1] for entry in folders if (found := _PARTITION.fullmatch(entry.name))}:
        parquet = any(inner.suffix == ".parquet" for inner in folders[0].iterdir())
        new = f"{name.rstrip('/')}.parquet"
        how = f': python -c "import pandas; pandas.read_parquet({name!r}).to_parquet({new!r})"' if parquet else ""
        return (
            f"{name} is partitioned: the column {', '.join(sorted(keys))} is in the names of its folders "
            f"({_listed(folders)}) only. Write it as one file, with that column{how}."
        )
    if tables := [inner for inner in folders if any(kind_of(x.name) in FORMATS[:-1] for x in inner.iterdir())]:
        return (
            f"{name} holds no table, but its folders do ({_listed(tables)}); give one of them, or one file for each "
            "split as train, validation and test."
        )
    if texts := [inner for inner in _two_levels(folders) if any(x.suffix == ".txt" for x in inner.iterdir())]:
        return (
            f"{name} holds folders of text files ({_listed(texts)}), which are not read; write a csv with a text and a "
            "label on each row, the name of its folder, say."
        )
    for file in files:
        if said := foreign(first_bytes(file), f"{name.rstrip('/')}/{file.name}"):
            return f"{name} holds no table: {file.name} {said}"
    return (
        f"{name} is a folder; give a file, or one file per split as train, validation and test. What it holds is no "
        f"table: {_listed(shown)}."
    )


def _two_levels(folders: Sequence[Path]) -> list[Path]:
    """Return folders and the folders in them, without links."""
    inner = (entry for folder in folders for entry in sorted(folder.iterdir())[:_NAMED])
    return [*folders, *(entry for entry in inner if entry.is_dir() and not entry.is_symlink())]


def _listed(entries: Sequence[Path]) -> str:
    return ", ".join(entry.name for entry in entries[:_NAMED]) + (", ..." if len(entries) > _NAMED else "")
