"""The `luthier` command: its groups of commands, and the entry point that turns errors into sentences.

Imports that take long happen inside the commands, so that `luthier --help` answers quickly; torch is never imported.
"""

import os
import sys
from typing import Annotated

import typer

from luthier import __version__
from luthier.service.cli import (
    bundles,
    compare,
    datasets,
    extension,
    external,
    imports,
    init,
    look,
    plan,
    predict,
    projects,
    results,
    run,
    schedules,
    serve,
    steering,
    studies,
    tokens,
    track,
    trials,
)
from luthier.service.cli.connect import explain, tell
from luthier.service.cli.options import Commands

app = typer.Typer(
    name="luthier",
    cls=Commands,
    help="Hyperparameter search for fine-tuning pretrained models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for noun in (
    *(init, imports, run, bundles, plan, serve, studies, extension, predict, results, compare, look, trials, track),
    *(schedules, steering, external, datasets, projects, tokens),
):
    noun.register(app)


def _print_version(wanted: bool) -> None:
    """Print the version and exit, where it is wanted."""
    if wanted:
        print(f"luthier {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Search hyperparameters for fine-tuning pretrained models."""


def main() -> None:
    """Run the command line, and exit: 0 done, 1 the study or the service failed, 2 wrong usage or a bad spec."""
    try:
        app(prog_name="luthier")  # also where it is started in another way, as completion asks by this name
    except Exception as error:
        if os.environ.get("LUTHIER_DEBUG"):
            raise
        code, lines = explain(error)
        tell(*lines)
        sys.exit(code)
