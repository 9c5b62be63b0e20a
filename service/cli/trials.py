"""Commands about trials: list them, read a log, export them, have one run."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.service.cli.connect import Server, StudyName, Token, connect
from luthier.service.cli.output import Format, Output, clean, configuration, duration, emit, score, table

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.schemas import TrialView

PANEL = "Trials"


class Sheet(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


def register(app: typer.Typer) -> None:
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
        found = list(client.trials(name, state))
    emit(found, output, _trials_table(found))


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
        found = client.trials(name)
        if form is Sheet.JSONL:
            for trial in found:
                print(json.dumps(trial.model_dump(mode="json"), ensure_ascii=False))
        else:
            _write_csv(list(found))


def _write_csv(found: list["TrialView"]) -> None:
    rows = [_row(trial) for trial in found]
    names = dict.fromkeys(column for row in rows for column in row)  # in the order they are met
    writer = csv.DictWriter(sys.stdout, list(names), lineterminator="\n")
    if names:
        writer.writeheader()
    writer.writerows(rows)


def _row(trial: "TrialView") -> dict[str, Any]:
    """One flat row: `params.<name>` for each parameter, `last.<metric>` for the last evaluation's scores."""
    plain = trial.model_dump(mode="json", exclude={"params", "values"})
    last = trial.values[-1] if trial.values else None
    return (
        {"number": plain.pop("number"), "state": plain.pop("state"), "value": plain.pop("value")}
        | {f"params.{key}": value for key, value in trial.params.items()}
        | {"steps": last.step if last else 0}
        | {f"last.{key}": value for key, value in (last.metrics.items() if last else ())}
        | plain
    )


def _trials_table(found: Iterable["TrialView"]) -> "Table":
    def rows() -> Iterator[tuple[object, ...]]:
        for t in found:
            why = t.reason.value if t.reason else ""
            step = t.values[-1].step if t.values else 0
            yield t.number, t.state.value, why, score(t.value), step, duration(t.seconds), configuration(t.params)

    return table((">trial", "state", "reason", ">value", ">steps", ">time", "configuration"), rows())
