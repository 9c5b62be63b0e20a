"""The command `luthier init`: a first spec for somebody's data, with a comment on each guess.

The docstring of a command is its help text.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.service.cli.connect import FAILURE, USAGE, CommandError, tell
from luthier.service.cli.examples import add
from luthier.service.cli.paths import check_new, check_source
from luthier.service.cli.programs import run_program
from luthier.service.cli.run import PANEL
from luthier.service.cli.stages import Waiting

STDOUT = "-"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add(app, init, "init", PANEL)


def init(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A file or a folder of examples.", show_default=False)],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="SPEC", help="Else NAME.yaml, by DATA's name; - for stdout.")
    ] = None,
) -> None:
    """Look at a file or a folder, and write a first spec for it: task, columns, classes, a model that lies here.

    Everything in it is a guess with a comment: read it, then `luthier plan` and `luthier run` it.
    """
    check_source(data)
    if output not in (None, STDOUT):
        check_new(Path(output))
    with Waiting(f"looking at {data}"):
        found = looked_at(data)
    if "fault" in found:
        raise CommandError(USAGE, found["fault"])
    if output == STDOUT:
        print(found["spec"], end="")
        return
    file = Path(output or f"{found['name']}.yaml")
    try:
        with file.open("x", encoding="utf-8") as opened:  # never over somebody's own file
            opened.write(found["spec"])
    except FileExistsError:
        raise CommandError(USAGE, f"{file} exists already; name another file with -o, or - for stdout.") from None
    tell(f"{file} is written: read it, then `luthier plan {file}`, and `luthier run {file}`.")


def looked_at(data: str) -> dict[str, Any]:
    """Return what the trials' program found, in a process of its own: the service imports none of their code."""
    roots = os.environ.get("LUTHIER_DATA_ROOTS", "/")
    done = run_program("first_spec", data, roots)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()
        last = why[-1] if why else f"the program ended with code {done.returncode}"
        raise CommandError(FAILURE, f"{data} could not be looked at: {last}") from None
    return found
