"""Printed answers of the command line: tables for people, JSON and YAML for programs.

All commands call it. Rich and PyYAML are imported only where they are used, so that `luthier --help` stays fast. Text
of others (names, messages, logs) never reaches a terminal with its control characters.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from luthier.service.cli.controls import clean, json_text

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 240  # columns of a table that goes to a file


class Format(StrEnum):
    """The forms in which an answer can be printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    TSV = "tsv"
    NAME = "name"
    VALUE = "value"


Output = Annotated[
    Format,
    typer.Option("--output", "-o", help="How to print. name: names alone, a line each; value: scores alone."),
]


def emit(answer: "BaseModel | Sequence[BaseModel]", form: Format, *tables: "Table") -> None:
    """Print an answer to stdout.

    Args:
        answer: The answer, whole, as JSON and YAML show it.
        form: How to print it.
        tables: The answer as a person reads it; printed for `Format.TABLE` only.
    """
    if form is Format.TABLE:
        show(*tables)
        return
    if form not in (Format.JSON, Format.YAML):
        _emit_rows(list(answer) if isinstance(answer, Sequence) else [answer], form)
        return
    plain: Any = (
        [item.model_dump(mode="json") for item in answer]
        if isinstance(answer, Sequence)
        else answer.model_dump(mode="json")
    )
    if form is Format.JSON:
        print(json_text(plain, indent=2))
    else:
        import yaml

        print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), end="")


def _emit_rows(answers: "Sequence[BaseModel]", form: Format) -> None:
    """Print answers as rows, or their names or scores. Raises CommandError where they have none."""
    from luthier.service.cli.connect import USAGE, CommandError
    from luthier.service.cli.sheets import names_of, values_of, write_rows

    if form in (Format.CSV, Format.TSV):
        write_rows(answers, "," if form is Format.CSV else "\t")
        return
    try:
        lines = names_of(answers) if form is Format.NAME else values_of(answers)
    except LookupError:
        what = "names" if form is Format.NAME else "scores"
        raise CommandError(USAGE, f"-o {form.value}: this answer has no {what}; take -o json.") from None
    for line in lines:
        print(clean(line))


def print_schema(document: "type[BaseModel]") -> None:
    """Print the JSON Schema of a document that users write."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | document.model_json_schema()
    print(json.dumps(schema, indent=2))


def show(*tables: "Table") -> None:
    """Print tables to stdout: for people as wide as their terminal, for programs as plain lines."""
    if not sys.stdout.isatty():
        from luthier.service.cli.long_table import plain_lines

        for table in tables:
            for line in plain_lines(table):
                print(line)
        return
    out = console(sys.stdout)
    for table in tables:
        out.print(table)


def console(file: TextIO) -> "Console":
    """Return a console on a file that prints text as it is, and does not fold lines of a pipe at 80 columns."""
    from rich.console import Console

    return Console(file=file, markup=False, highlight=False, width=None if file.isatty() else PIPE_WIDTH)


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> "Table":
    """Return a table of rows.

    Args:
        columns: The headings; a column whose heading starts with `>` holds numbers and is aligned right.
        rows: The values, as many in each row as there are columns; `cell` formats them.
        title: A line above the table.
    """
    from luthier.service.cli.long_table import LongTable

    return LongTable(list(columns), [[cell(value) for value in row] for row in rows], title)


def facts(pairs: Mapping[str, object], title: str | None = None) -> "Table":
    """Return a table without headings, a row for each name and value.

    Args:
        pairs: Name -> value; a value of None leaves its row out.
        title: A line above the table.
    """
    from rich.table import Table

    new_table = Table(
        title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False
    )
    new_table.add_column(style="dim")
    new_table.add_column(overflow="fold")
    for key, value in pairs.items():
        if value is not None:
            new_table.add_row(key, cell(value))
    return new_table


def cell(value: object) -> str:
    """Return a value as a person reads it: a float to four digits, a time to the second, None as -."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return clean(str(value))


def score(value: float | None) -> str:
    """Return a metric's value to four decimal places, None as -."""
    return "-" if value is None else f"{value:.4f}"


def scores(metrics: Mapping[str, float | None]) -> str:
    """Return metrics as `accuracy 0.7500, f1 0.7000`."""
    return ", ".join(f"{name} {score(value)}" for name, value in metrics.items())


def looks(count: int | None) -> str:
    """Return how often a test split has been looked at, as the end of a line; "" for once, or where nobody counted."""
    return f" (look {count} at this test split)" if count is not None and count > 1 else ""


def configuration(params: Mapping[str, object]) -> str:
    """Return hyperparameters as `batch_size 32, learning_rate 0.001`."""
    return ", ".join(f"{name} {cell(value)}" for name, value in params.items())


def duration(seconds: float | None) -> str:
    """Return a time span as 1:05 (minutes) or 2:01:05 (hours), None as -."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: int | None) -> str:
    """Return a number of bytes in decimal units, as `1.2 GB`; None as -."""
    from rich import filesize

    return "-" if count is None else filesize.decimal(count)
