"""The commands about the trials of a study: list them, read a log, export them.

The docstring of a command is its help text.
"""

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.service.cli.bundles import bundle_file, export_bundle
from luthier.service.cli.completion import trial_numbers
from luthier.service.cli.connect import INTERRUPTED, USAGE, CommandError, Server, StudyName, Token, connect
from luthier.service.cli.controls import clean, json_text
from luthier.service.cli.examples import add
from luthier.service.cli.onnx import export_onnx
from luthier.service.cli.output import Format, Output, cell, configuration, duration, emit, score, table
from luthier.service.cli.sheets import write_rows

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.schemas import TrialView

PANEL = "Trials"
KnownTrial = Annotated[
    int, typer.Argument(metavar="N", help="The trial's number.", min=0, autocompletion=trial_numbers)
]


class Sheet(StrEnum):
    """The format of an export."""

    CSV = "csv"
    JSONL = "jsonl"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (trials, logs, enqueue, export):
        add(app, command, command.__name__, PANEL)


def trials(
    name: StudyName,
    state: Annotated[
        list[str] | None, typer.Option(help="Only trials in this state; may be given several times.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option(help="value, seconds, params.NAME, a metric ...; - first: the greatest first.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many at most.")] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """List a study's trials."""
    with connect(server, token) as client:
        views = list(client.trials(name, state, sort, limit))
    emit(views, output, trials_table(views))


def logs(
    name: StudyName,
    number: KnownTrial,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the trial has ended.")] = False,
    lines: Annotated[
        int | None,
        typer.Option("--tail", metavar="LINES", min=0, help="Begin with so many of its last lines; else all."),
    ] = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Print a trial's log."""
    from luthier.service.cli.log_lines import followed, tail

    try:
        with connect(server, token) as client:
            for text in followed(client, name, number, lines) if follow else [tail(client.logs(name, number), lines)]:
                sys.stdout.write(clean(text) if sys.stdout.isatty() else text)
                sys.stdout.flush()
    except KeyboardInterrupt:
        raise CommandError(INTERRUPTED) from None


def enqueue(
    name: StudyName,
    settings: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="Hyperparameters; the sampler draws the others.")
    ],
    seed: Annotated[
        int | None, typer.Option(min=0, help="As another trial shows it, to run a configuration again; else a new one.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key again shows the same trial, and adds none.")
    ] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Have a configuration of your own run next; before the study is inspected it waits, after the baseline."""
    params = _params(settings)
    with connect(server, token) as client:
        trial = client.enqueue(name, params, seed, key)
    emit(trial, output, trials_table([trial]))


def _params(settings: Iterable[str]) -> dict[str, Any]:
    """Return hyperparameters from texts such as `learning_rate=2e-5`. Raises CommandError."""
    from luthier.studies.documents import load_document

    params: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not key or not equals:
            raise CommandError(USAGE, f"{setting}: a hyperparameter is given as KEY=VALUE, as learning_rate=2e-5.")
        if key in params:
            raise CommandError(USAGE, f"{key} is given twice.")
        try:
            params[key] = load_document(text)
        except ValueError:
            raise CommandError(
                USAGE, f"{setting}: the value is neither a number, nor true or false, nor a word."
            ) from None
    return params


def export(
    name: StudyName,
    form: Annotated[Sheet, typer.Option("--format", help="csv: a row a trial; jsonl: an object a line.")] = Sheet.CSV,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="The whole study as one zip, to keep or to run again (`luthier rerun`).")
    ] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="The winner as onnx/model.onnx, made by a worker and tried beside torch.")
    ] = False,
    into: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="The bundle's file; --onnx: the directory.")
    ] = None,
    with_model: Annotated[bool, typer.Option("--with-model", help="Put the winner's model into the bundle.")] = False,
    server: Server = None,
    token: Token = None,
) -> None:
    """Print every trial for other programs; or write the whole study as a bundle, or its winner as an ONNX file.

    --onnx needs no --server: without one, a worker on this machine makes the file, for a study of LUTHIER_HOME.
    """
    if onnx and (bundle or with_model):
        raise CommandError(USAGE, "--onnx and --bundle exclude each other: give one.")
    if onnx:
        export_onnx(name, into, server, token)
        return
    if not bundle and (into is not None or with_model):
        raise CommandError(
            USAGE, "-o is for --bundle and --onnx, --with-model for --bundle; trials are printed: export NAME > FILE."
        )
    file = bundle_file(name, into) if bundle else None
    with connect(server, token) as client:
        if file is not None:
            export_bundle(client, name, file, with_model)
            return
        views = client.trials(name)
        if form is Sheet.JSONL:
            for trial in views:
                print(json_text(trial.model_dump(mode="json")))
        else:
            write_rows(views, ",")


def trials_table(views: Iterable["TrialView"]) -> "Table":
    """Return trials as a table for people."""

    def rows() -> Iterator[tuple[object, ...]]:
        for trial in views:
            reason = trial.reason.value if trial.reason else "stopping" if trial.stopping else _origin(trial)
            step = trial.values[-1].step if trial.values else 0
            params = configuration(trial.params)
            end = (trial.number, trial.state.value, reason, score(trial.value), step, duration(trial.seconds))
            yield (*end, _batch(trial), params)

    return table((">trial", "state", "reason", ">value", ">steps", ">time", ">batch", "configuration"), rows())


def _origin(trial: "TrialView") -> str:
    return "" if trial.retry_of is None else f"retry of {trial.retry_of}"


def _batch(trial: "TrialView") -> str:
    """Return the examples of an optimizer step, and how they go through the model if in parts, as `32 = 4 x 8`."""
    batch, part = trial.effective_batch, trial.micro_batch
    if batch is None or part is None or part >= batch:
        return cell(batch)
    return f"{batch} = {batch // part} x {part}" if batch % part == 0 else f"{batch} by {part}"
