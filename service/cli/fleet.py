"""The commands `luthier fleet` and `luthier fleet release`: who works for a service, and the end of a quarantine.

The docstring of a command is its help text.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.connect import Server, Token, connect
from luthier.service.cli.examples import EXAMPLES, add
from luthier.service.cli.output import Format, Output, emit, size, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from luthier.service.schemas import WorkerView

fleet = typer.Typer(
    invoke_without_command=True,
    epilog="\n\n".join(("Examples:", *(f"  {line}" for line in EXAMPLES["fleet"]))),
)


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    fleet.callback(invoke_without_command=True)(show)
    add(fleet, release, "release", group="fleet ")
    app.add_typer(fleet, name="fleet", rich_help_panel="Processes that stay")


def show(ctx: typer.Context, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """List who works for a service: each worker, its device, what it does, and when it was heard of last.

    A worker that fails again and again is in quarantine; `luthier fleet release NAME` ends that.
    """
    if ctx.invoked_subcommand is not None:
        return
    with connect(server, token) as client:
        workers = list(client.workers())
    emit(workers, output, *_tables(workers))


def release(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The worker, as `luthier fleet` lists it.")],
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """End a worker's quarantine now, after you mended it; what it failed at is forgotten."""
    with connect(server, token) as client:
        worker = client.release_worker(name)
    emit(worker, output, *_tables([worker]))


def _tables(workers: "Sequence[WorkerView]") -> "list[Table]":
    rows = (
        (w.name, w.state, w.device, _work(w), size(w.reserved_bytes) if w.reserved_bytes else "", w.last_seen_at)
        for w in workers
    )
    tables = [table(("worker", "state", "device", "works on", ">reserved", "last seen (UTC)"), rows)]
    sick = [(w.name, w.quarantine.until, w.quarantine.reason) for w in workers if w.quarantine is not None]
    if sick:
        tables.append(table(("in quarantine", "next probe (UTC)", "reason"), sick))
    told = [(w.name, note) for w in workers for note in w.notes]
    if told:
        tables.append(table(("worker", "note"), told))
    return tables


def _work(worker: "WorkerView") -> str:
    """Return what a worker does, as `my-study, trial 3`."""
    if worker.study is None:
        return ""
    if worker.study.startswith("plan:"):
        return "a plan"
    return f"{worker.study}, trial {worker.trial}" if worker.trial is not None else worker.study
