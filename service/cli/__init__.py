"""The `luthier` command. One file a noun; heavy imports happen inside the commands, and torch never."""

import os
import sys

import typer

from luthier.service.cli import run, schedules, serve, studies, trials
from luthier.service.cli.connect import explain, tell

app = typer.Typer(
    name="luthier",
    help="Hyperparameter search for fine-tuning pretrained models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for noun in (run, serve, studies, trials, schedules):
    noun.register(app)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the study or the service failed, 2 usage or a bad spec."""
    try:
        app()
    except Exception as error:
        if os.environ.get("LUTHIER_DEBUG"):
            raise
        code, lines = explain(error)
        tell(*lines)
        sys.exit(code)
