"""The command `luthier predict`: the winner of a study answers the rows of a table.

The docstring of a command is its help text.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.connect import (
    FAILURE,
    INTERRUPTED,
    USAGE,
    CommandError,
    Server,
    StudyName,
    Token,
    connect,
    load_settings,
    tell,
)
from luthier.service.cli.examples import add
from luthier.service.cli.own_service import OwnService, find_holder, waited_service
from luthier.service.cli.paths import check_file, check_target
from luthier.service.cli.signals import end_at_once
from luthier.service.cli.stages import Waiting

if TYPE_CHECKING:
    from luthier.service.client import Client
    from luthier.service.schemas.predictions import PredictionView

POLL_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add(app, predict, "predict", "Studies on a service")


def predict(
    name: StudyName,
    table: Annotated[Path, typer.Argument(metavar="FILE", help="A csv, tsv, jsonl, json, parquet or arrow file.")],
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="A csv file for the answers; else they are printed."),
    ] = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Answer the rows of a table by the winner of a study. The table's columns and order are kept.

    Without --server or LUTHIER_SERVER a worker on this machine does it, for a study of LUTHIER_HOME.
    """
    check_file(table)
    if out is not None:
        check_target(out)
    from luthier.service.client.predictions import check_out, table_kind

    try:
        table_kind(table)
        check_out(out)
    except ValueError as error:
        raise CommandError(USAGE, str(error)) from None
    try:
        with service_of(name, server, token) as service:
            _answer(service, name, table, out)
    except KeyboardInterrupt:
        raise CommandError(INTERRUPTED, "Interrupted: no answers were written.") from None


@contextmanager
def service_of(name: str, server: str | None, token: str | None) -> Iterator[OwnService]:
    """Yield the service that the options name, or the one of this home, or one that is embedded."""
    if server:
        with connect(server, token) as client:
            yield OwnService(client, None)
        return
    end_at_once()
    settings = load_settings().model_copy(update={"workers_per_gpu": 1, "cpu_workers": 1})
    holder = find_holder(settings.home)
    if holder is None and settings.database_url is None and not (settings.home / "luthier.db").exists():
        raise CommandError(
            FAILURE,
            f"{settings.home} holds no studies: name the folder of `luthier run` with LUTHIER_HOME, or a service with "
            "--server.",
        )
    with waited_service(settings, name, holder) as service:
        yield service


def _answer(service: OwnService, name: str, table: Path, out: Path | None) -> None:
    """Send the table, wait for the answers, and write them; nothing of it stays at an embedded service."""
    client = service.client
    sent = client.start_prediction(name, table)
    try:
        found = _ended(service, sent)
        if out is not None:
            client.download_prediction(name, found.id, out)
        else:
            _print(client, found)
    finally:
        if service.embedded is not None:
            client.delete_prediction(name, sent.id)
    where = "" if out is None else f" to {out}"
    tell(f"{found.rows or 0:,} rows were answered by the model of trial {found.trial}{where}; {found.seconds:.1f} s.")
    if found.unreadable:
        tell(f"{found.unreadable:,} of them could not be used: the column `problem` says why.")


def _ended(service: OwnService, sent: "PredictionView") -> "PredictionView":
    """Return the prediction once it is complete. Raises CommandError, ServiceError."""
    from luthier.service.client.watch import PredictionWait

    def look() -> "PredictionView":
        if service.problem is not None:
            raise CommandError(FAILURE, service.problem)
        return service.client.prediction(sent.study, sent.id)

    with Waiting("a worker answers the rows"):
        return PredictionWait(sent, None, POLL_SECONDS).end(look)


def _print(client: "Client", found: "PredictionView") -> None:
    """Print the answers of a complete prediction."""
    with tempfile.TemporaryDirectory() as scratch:
        file = client.download_prediction(found.study, found.id, Path(scratch, "predictions.csv"))
        sys.stdout.write(file.read_text(encoding="utf-8"))
