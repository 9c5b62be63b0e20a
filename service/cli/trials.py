"""The commands about the trials of a study: list them, read a log, export them.

The docstring of a command is its help text.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.service.cli.connect import Server, StudyName, Token, connect
from luthier.service.cli.output import Format, Output, cell, clean, configuration, duration, emit, score, table

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.schemas import TrialView

PANEL = "Trials"


class Sheet(StrEnum):
    """The format of an export."""

    CSV = "csv"
    JSONL = "jsonl"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (trials, logs, export):
        app.command(rich_help_panel=PANEL)(command)


def trials(
    name: StudyName,
    state: Annotated[str | None, typer.Option(help="Only trials in this state.")] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """List a study's trials."""
    with connect(server, token) as client:
        views = list(client.trials(name, state))
    emit(views, output, _trials_table(views))


def logs(
    name: StudyName,
    number: Annotated[int, typer.Argument(metavar="N", help="The trial's number.", min=0)],
    server: Server = None,
    token: Token = None,
) -> None:
    """Print a trial's log."""
    with connect(server, token) as client:
        text = client.logs(name, number)
    sys.stdout.write(clean(text) if sys.stdout.isatty() else text)


def export(
    name: StudyName,
    form: Annotated[Sheet, typer.Option("--format", help="csv: a row a trial; jsonl: an object a line.")] = Sheet.CSV,
    server: Server = None,
    token: Token = None,
) -> None:
    """Print every trial for other programs: parameters, scores, times."""
    with connect(server, token) as client:
        views = client.trials(name)
        if form is Sheet.JSONL:
            for trial in views:
                print(json.dumps(trial.model_dump(mode="json"), ensure_ascii=False))
        else:
            _write_csv(list(views))


def _write_csv(views: list["TrialView"]) -> None:
    rows = [_row(trial) for trial in views]
    names = dict.fromkeys(column for row in rows for column in row)  # in the order they are met
    writer = csv.DictWriter(sys.stdout, list(names), lineterminator="\n")
    if names:
        writer.writeheader()
    writer.writerows(rows)


def _row(trial: "TrialView") -> dict[str, Any]:
    """Return a trial as one flat row: `params.<name>` for parameters, `last.<metric>` for the last scores."""
    plain = trial.model_dump(mode="json", exclude={"params", "values"})
    last = trial.values[-1] if trial.values else None
    return (
        {"number": plain.pop("number"), "state": plain.pop("state"), "value": plain.pop("value")}
        | {f"params.{key}": value for key, value in trial.params.items()}
        | {"steps": last.step if last else 0}
        | {f"last.{key}": value for key, value in (last.metrics.items() if last else ())}
        | plain
    )


def _trials_table(views: Iterable["TrialView"]) -> "Table":
    def rows() -> Iterator[tuple[object, ...]]:
        for trial in views:
            reason = trial.reason.value if trial.reason else ""
            step = trial.values[-1].step if trial.values else 0
            params = configuration(trial.params)
            end = (trial.number, trial.state.value, reason, score(trial.value), step, duration(trial.seconds))
            yield (*end, _batch(trial), params)

    return table((">trial", "state", "reason", ">value", ">steps", ">time", ">batch", "configuration"), rows())


def _batch(trial: "TrialView") -> str:
    """Return the examples of an optimizer step, and how they go through the model if in parts, as `32 = 4 x 8`."""
    batch, part = trial.effective_batch, trial.micro_batch
    if batch is None or part is None or part >= batch:
        return cell(batch)
    return f"{batch} = {batch // part} x {part}" if batch % part == 0 else f"{batch} by {part}"
