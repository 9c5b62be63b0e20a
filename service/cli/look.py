"""The commands that look at a service: `luthier plot` and `open`.

The docstring of a command is its help text.
"""

import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from luthier.service.cli.completion import study_names
from luthier.service.cli.connect import USAGE, CommandError, Server, StudyName, Token, connect, tell
from luthier.service.cli.examples import add
from luthier.service.cli.paths import check_target


class Kind(StrEnum):
    """The kinds of plots of a study."""

    HISTORY = "history"
    IMPORTANCE = "importance"
    PARALLEL = "parallel"
    SLICE = "slice"
    CONTOUR = "contour"
    INTERMEDIATE = "intermediate"
    TIMELINE = "timeline"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    add(app, plot, "plot", "Studies on a service")
    add(app, open_page, "open", "Studies on a service")


def plot(
    name: StudyName,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=f"One of {', '.join(Kind)}.")],
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="An .html page that needs no network, a .png, or plotly's .json; else NAME-KIND.html here.",
        ),
    ] = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Draw a study's search into a file."""
    target = file or Path(f"{name}-{kind.value}.html")
    form = target.suffix.lower().removeprefix(".")
    if form not in ("html", "png", "json"):
        raise CommandError(USAGE, f"{target}: a plot is written as .html, .png or .json.")
    check_target(target)
    with connect(server, token) as client:
        drawn = client.plot(name, kind.value)
        if form == "png":
            target.write_bytes(drawn.png())
        else:
            target.write_text(drawn.page() if form == "html" else drawn.json, encoding="utf-8")
    print(target)


def open_page(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", show_default=False, help="A study; else all.", autocompletion=study_names),
    ] = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Open the service's page in the browser; without one the address is printed."""
    with connect(server, token) as client:
        if name is None:
            next(iter(client.list()), None)  # so that a service that is away, or a wrong token, is told here
        else:
            client.get(name)
        url = f"{client.url}/" if name is None else f"{client.url}/studies/{name}"
    print(url, flush=True)
    if not webbrowser.open(url):
        tell("No browser could be opened here; open the address yourself.")
