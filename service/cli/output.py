"""Printing answers: tables for people, JSON and YAML for programs."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all control characters but tab and newline
PIPE_WIDTH = 240  # columns of a table that goes to a file


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]


def emit(answer: "BaseModel | Sequence[BaseModel]", form: Format, *tables: "Table") -> None:
    """Print an answer to stdout; `tables` is how a person sees it."""
    if form is Format.TABLE:
        show(*tables)
        return
    plain: Any = (
        [item.model_dump(mode="json") for item in answer]
        if isinstance(answer, Sequence)
        else answer.model_dump(mode="json")
    )
    if form is Format.JSON:
        print(json.dumps(plain, indent=2, ensure_ascii=False))
    else:
        import yaml

        print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), end="")


def show(*tables: "Table") -> None:
    """Print tables to stdout."""
    out = console(sys.stdout)
    for table in tables:
        out.print(table)


def console(file: TextIO) -> "Console":
    """A console that takes text as it is; what a pipe reads is not folded at 80 columns."""
    from rich.console import Console

    return Console(file=file, markup=False, highlight=False, width=None if file.isatty() else PIPE_WIDTH)


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> "Table":
    """A table; columns named with a leading `>` are numbers, set to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def facts(pairs: Mapping[str, object], title: str | None = None) -> "Table":
    """A two-column table without a head: what -> value; values that are None are left out."""
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    made.add_column(style="dim")
    made.add_column()
    for key, value in pairs.items():
        if value is not None:
            made.add_row(key, cell(value))
    return made


def cell(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return clean(str(value))


def score(value: float | None) -> str:
    """A metric, to four places."""
    return "-" if value is None else f"{value:.4f}"


def scores(metrics: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {score(value)}" for name, value in metrics.items())


def configuration(params: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {cell(value)}" for name, value in params.items())


def duration(seconds: float | None) -> str:
    """As 1:05 or 2:01:05; nothing known is -."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float | None) -> str:
    """Bytes, in a unit a person reads."""
    if count is None:
        return "-"
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def clean(text: str) -> str:
    """Text of others without the characters that drive a terminal."""
    return _CONTROL.sub("", text)
