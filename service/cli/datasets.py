"""The commands `luthier dataset ...`: upload data to a service, look at it, delete it.

The docstring of a command is its help text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.completion import dataset_ids
from luthier.service.cli.confirm import Yes, confirm
from luthier.service.cli.connect import USAGE, CommandError, Server, Token, connect, tell
from luthier.service.cli.examples import add
from luthier.service.cli.output import Format, Output, emit, facts, size, table
from luthier.service.cli.paths import check_file

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.schemas import ColumnPreview, DatasetView, PreviewView, SplitPreview

SHOWN_FILES = 20
SHOWN_VALUES = 5
CELL = 60  # characters of a value

DatasetFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A table (csv, jsonl, parquet, ...), or a zip or tar of folders.")
]
DatasetId = Annotated[str, typer.Argument(metavar="ID", help="The data set's id.", autocompletion=dataset_ids)]
dataset = typer.Typer(no_args_is_help=True, help="Data on a service, for workers anywhere.")


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    for command in (upload, list_datasets, get, preview, delete):
        name = "list" if command is list_datasets else command.__name__
        add(dataset, command, name, group="dataset ")
    app.add_typer(dataset, name="dataset", rich_help_panel="Data on a service")


def upload(
    file: DatasetFile,
    name: Annotated[str | None, typer.Option("--name", help="For people; else the file's own.")] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Upload a file; the same content again is the same data set. A spec names it as `source: dataset:ID`."""
    if file.is_dir():
        raise CommandError(USAGE, f"{file} is a folder; pack it first, as with: tar -czf {file.name}.tar.gz {file}")
    check_file(file)
    with connect(server, token) as client:
        view = client.upload_dataset(file, name)
    emit(view, output, *_tables(view))


def list_datasets(server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """List the data sets."""
    with connect(server, token) as client:
        views = list(client.datasets())
    rows = ((v.id, v.name, v.kind, size(v.bytes), v.file_count, v.created_at, _users(v)) for v in views)
    emit(views, output, table(("data set", "name", "kind", ">size", ">files", "created (UTC)", "used by"), rows))


def get(id: DatasetId, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Show a data set: its files, and who uses it."""
    with connect(server, token) as client:
        view = client.dataset(id)
    emit(view, output, *_tables(view))


def preview(id: DatasetId, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Show what is in a data set: columns and their kinds, classes, lengths, first rows, rows in two splits."""
    with connect(server, token) as client:
        view = client.preview_dataset(id)
    emit(view, output, *(part for split in view.splits for part in _split_tables(split)))
    if output is Format.TABLE:
        for line in _remarks(view):
            print(line)


def delete(id: DatasetId, yes: Yes = False, server: Server = None, token: Token = None) -> None:
    """Delete a data set that no unfinished study and no schedule uses. On a terminal it asks."""
    with connect(server, token) as client:
        view = client.dataset(id)
        confirm(lambda: _losses(view), yes)
        client.delete_dataset(id)
    tell(f"The data set {view.id} was deleted.")


def _tables(view: "DatasetView") -> tuple["Table", "Table"]:
    """Return a data set as a person reads it: its facts, and its files."""
    unpacked = size(view.unpacked_bytes) if view.unpacked_bytes != view.bytes else None
    pairs = {
        "data set": view.id,
        "in a spec": f"dataset: {{source: {view.source}}}",
        "name": view.name,
        "kind": view.kind,
        "size": size(view.bytes),
        "unpacked": unpacked,
        "files": view.file_count,
        "sha256": view.sha256,
        "created (UTC)": view.created_at,
        "used by": _users(view),
    }
    files = [(file.path, size(file.bytes)) for file in view.files[:SHOWN_FILES]]
    if view.file_count > len(files):
        files.append((f"and {view.file_count - len(files):,} more", ""))
    return facts(pairs), table(("file", ">size"), files)


def _users(view: "DatasetView") -> str | None:
    names = [*view.studies, *(f"schedule {name}" for name in view.schedules)]
    return ", ".join(names[:SHOWN_VALUES]) + (" ..." if len(names) > SHOWN_VALUES else "") or None


def _losses(view: "DatasetView") -> str:
    users = _users(view)
    used = f" It was used by {users}, which keep their results but cannot be trained again." if users else ""
    return f"The data set {view.id} ({view.name}, {size(view.bytes)}) goes for good.{used}"


def _split_tables(split: "SplitPreview") -> Iterator["Table"]:
    """Yield the columns of a split, and its first rows."""
    rows = f"{split.split}: {'' if split.complete else 'the first '}{split.rows:,} rows"
    columns = ((c.name, c.kind, c.missing, c.distinct, _values(c), _lengths(c)) for c in split.columns)
    yield table(("column", "kind", ">missing", ">distinct", "values", "lengths"), columns, rows)
    names = [column.name for column in split.columns]
    yield table(names, ([_short(row.get(name)) for name in names] for row in split.first))


def _values(column: "ColumnPreview") -> str | None:
    if column.least is not None and not column.values:
        return f"{column.least:g} to {column.most:g}"
    shown = [f"{_short(v.value)} ({v.rows:,})" for v in column.values[:SHOWN_VALUES]]
    return ", ".join(shown) + (" ..." if len(column.values) > SHOWN_VALUES else "") or None


def _lengths(column: "ColumnPreview") -> str | None:
    parts = (f"{x.least:,} to {x.most:,} {x.unit}, median {x.median:,.0f}" for x in column.lengths)
    return "; ".join(parts) or None


def _short(value: str | None) -> str | None:
    if value is None:
        return None
    line = " ".join(value.split())
    return line if len(line) <= CELL else f"{line[: CELL - 1]}\N{HORIZONTAL ELLIPSIS}"


def _remarks(view: "PreviewView") -> Sequence[str]:
    """Return a sentence for each thing that a person should know before training."""
    repeated = [f"{s.repeats:,} rows of {s.split} repeat an earlier one." for s in view.splits if s.repeats]
    shared = [f"{o.rows:,} rows of {o.other} are in {o.split} too." for o in view.overlaps]
    return [*repeated, *shared, *([view.problem] if view.problem else [])]
