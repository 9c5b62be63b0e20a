"""The commands `luthier usage` and `luthier prune`: what the service's disk is used for, and what goes.

The docstring of a command is its help text.
"""

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.completion import study_names
from luthier.service.cli.confirm import Yes, confirm
from luthier.service.cli.connect import USAGE, CommandError, Server, Token, connect, tell
from luthier.service.cli.examples import add
from luthier.service.cli.output import Format, Output, emit, facts, size, table

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.schemas.usage import PruneView, UsageView

PANEL = "The service's disk"
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    add(app, usage, "usage", PANEL)
    add(app, prune, "prune", PANEL)


def usage(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Studies that are listed.")] = 20,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what the service's disk is used for: by study, data set and schedule, the largest first."""
    with connect(server, token) as client:
        view = client.usage(limit)
    emit(view, output, *_usage_tables(view))


def prune(
    what: Annotated[
        list[str] | None,
        typer.Option(
            "--what",
            metavar="KIND",
            help="weights, logs, predictions, onnx, datasets or studies; several times for several. "
            "Else all but whole studies.",
        ),
    ] = None,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Only what ended so long ago: 12h, 30d, 8w.")
    ] = "0d",
    study: Annotated[
        list[str] | None,
        typer.Option("--study", metavar="NAME", help="Only of this study.", autocompletion=study_names),
    ] = None,
    keep_winners: Annotated[
        bool,
        typer.Option(
            "--keep-winners/--no-keep-winners", help="Keep the winners' weights, and whole studies with a packed one."
        ),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Yes = False,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Free the service's disk of what has ended and nobody needs any more; it says what goes, and asks."""
    seconds = _seconds(older_than)
    with connect(server, token) as client:
        planned = client.prune(what or None, seconds, study or None, keep_winners)
        if dry_run or not planned.items:
            emit(planned, output, *_prune_tables(planned))
            tell(*_remarks(planned), f"{'Nothing was removed' if planned.items else 'Nothing is to be removed'}.")
            return
        if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandError(USAGE, "Nothing was removed: without a terminal add --yes, or --dry-run to look only.")
        if output is Format.TABLE and not yes:
            emit(planned, output, *_prune_tables(planned))
        confirm(lambda: f"{size(planned.bytes)} of {len(planned.items)} things go for good.", yes)
        done = client.prune(what or None, seconds, study or None, keep_winners, dry_run=False)
    emit(done, output, *_prune_tables(done))
    tell(*_remarks(done), f"{size(done.bytes)} were freed.")


def _seconds(age: str) -> float:
    """Return an age in seconds. Raises CommandError."""
    match = AGE.fullmatch(age.strip())
    if match is None:
        raise CommandError(USAGE, f"--older-than: {age} is no age; give a number and s, m, h, d or w, such as 30d.")
    return float(match[1]) * SECONDS[match[2]]


def _remarks(view: "PruneView") -> list[str]:
    return [f"{kept.study}: {kept.reason}" for kept in view.kept]


def _prune_tables(view: "PruneView") -> list["Table"]:
    rows = (
        (item.study or f"dataset:{item.dataset}", item.kind.value, item.files, size(item.bytes)) for item in view.items
    )
    return [table(("of", "what", ">files", ">frees"), rows)] if view.items else []


def _usage_tables(view: "UsageView") -> list["Table"]:
    """Return the usage as a person reads it: sums, then studies, data sets and schedules."""
    pairs = {
        "store": size(view.store_bytes),
        "database": size(view.database_bytes),
        "free": f"{size(view.free_bytes)} of {size(view.disk_bytes)}",
        "no row names": size(view.unnamed_bytes) if view.unnamed_bytes else None,
        "not listed": _rest(view),
        **{f"frozen prefixes, {cache.place}": size(cache.bytes) for cache in view.caches if cache.bytes},
    }
    parts = ("checkpoints", "model", "logs", "predictions", "onnx", "other")
    studies = (
        (one.name, one.state, size(one.bytes), *(size(getattr(one, part)) for part in parts), one.finished_at)
        for one in view.studies
    )
    headings = ("study", "state", ">all", *(f">{part}" for part in parts), "ended (UTC)")
    tables = [facts(pairs), table(headings, studies)]
    if view.datasets:
        data = ((one.id, one.name, size(one.bytes), one.users) for one in view.datasets)
        tables.append(table(("data set", "name", ">size", ">used by"), data))
    if view.schedules:
        schedules = ((one.name, size(one.bytes), one.models) for one in view.schedules)
        tables.append(table(("schedule", ">size", ">models"), schedules))
    return tables


def _rest(view: "UsageView") -> str | None:
    if not view.more_bytes and not view.more_studies:
        return None
    return f"{size(view.more_bytes)}, {view.more_studies} smaller studies and other projects"
