"""The commands `luthier backup` and `luthier restore`: a home on SQLite, copied while its service runs.

The docstring of a command is its help text.
"""

from pathlib import Path
from typing import Annotated

import typer

from luthier.service.cli.connect import load_settings, starting, tell
from luthier.service.cli.examples import add
from luthier.service.cli.output import size
from luthier.service.cli.usage import PANEL

SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    add(app, backup, "backup", PANEL)
    add(app, restore, "restore", PANEL)


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new folder, or a new file that ends in .tar.")],
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Copy the home's folder `data`, too, where specs find files.")
    ] = True,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all of it again; where TARGET is a backup already, only do that.")
    ] = False,
) -> None:
    """Back up a home on SQLite, while its service runs: the database, and every file that its rows name.

    The home is that of LUTHIER_HOME, on this machine. No token is in a backup.
    """
    from luthier.service.server import backup as backups
    from luthier.service.server.restore import verify as read_again

    if not (verify and target.exists()):
        report = backups.back_up(load_settings(), target, data)
        for fault in report.faults[:SHOWN]:
            tell(f"{fault} in the home itself; its study cannot use it.")
        if len(report.faults) > SHOWN:
            tell(f"So it is with {len(report.faults) - SHOWN:,} more files.")
        told = f"{report.files:,} files, {size(report.bytes)}; the service waited {report.waited_seconds:.2f} s"
        tell(f"Backed up to {target}: {told}.")
    if verify:
        manifest = read_again(target)
        tell(f"{target} is whole: {len(manifest.files):,} files, made at {manifest.created_at}.")
    print(target)


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="What `luthier backup` made.")],
) -> None:
    """Make a home from a backup: that of LUTHIER_HOME, which must have no studies and no service.

    Everything is checked before the database takes its place. Trials that ran then are given out again.
    """
    from luthier.service.server.restore import restore as make_home

    settings = load_settings()
    with starting():
        manifest = make_home(settings, source)
    what = f"the backup of {manifest.created_at}, {len(manifest.files):,} files"
    tell(f"{settings.home} holds {what}; `luthier serve` goes on from there.")
