"""The commands about trials of external studies, for trainers in any language: ask, report, tell.

The docstring of a command is its help text.
"""

import time
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.connect import FAILURE, USAGE, CommandError, Server, StudyName, Token, connect
from luthier.service.cli.examples import add
from luthier.service.cli.output import Format, Output, emit, facts, score

if TYPE_CHECKING:
    from luthier.service.client.external_reports import Failure

PANEL = "Trainers of your own"
ONE_REQUEST_SECONDS = 20.0  # that a request for a trial waits
LeaseToken = Annotated[
    str, typer.Argument(metavar="TOKEN", show_default=False, help="Of the trial's lease, as `luthier ask` printed it.")
]
Scores = Annotated[
    list[str] | None,
    typer.Argument(metavar="METRIC=VALUE...", show_default=False, help="Scores; nan for one that is not finite."),
]
Log = Annotated[str, typer.Option("--log", help="New lines of the trial's log.")]


class EndState(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    RELEASED = "released"


class FailureReason(StrEnum):
    """Why a trial failed."""

    OOM = "oom"
    DIVERGED = "diverged"
    TIMEOUT = "timeout"
    ERROR = "error"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (ask, report, tell):
        add(app, command, command.__name__, PANEL)


def ask(
    name: StudyName,
    worker: Annotated[str | None, typer.Option(help="A name of your program, for people.")] = None,
    wait: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Wait so long for a trial; else as long as it takes.")
    ] = None,
    lease: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="How long the trial stays yours without a report.")
    ] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.JSON,
) -> None:
    """Get a trial of an external study to train: its configuration, and the token for reports.

    Exit code 1 once the study has ended, or where none may start within --wait.
    """
    until = None if wait is None else time.monotonic() + wait
    with connect(server, token) as client:
        while True:
            left = ONE_REQUEST_SECONDS if until is None else until - time.monotonic()
            trial = client.ask(name, worker, min(max(left, 0.0), ONE_REQUEST_SECONDS), lease)
            if trial is not None:
                break
            if until is not None and time.monotonic() >= until:
                raise CommandError(FAILURE, f"No trial of {name} may start now: it is paused, or enough of them run.")
    view = trial.view
    told = {"trial": view.number, "token": view.token, "attempt": view.attempt, "seed": view.seed, **view.params}
    emit(view, output, facts(told))


def report(
    name: StudyName,
    lease_token: LeaseToken,
    step: Annotated[
        int | None, typer.Argument(metavar="STEP", show_default=False, help="From 1; without one the lease is renewed.")
    ] = None,
    scores: Scores = None,
    checkpoint: Annotated[str | None, typer.Option(help="Where another trainer could continue.")] = None,
    log: Log = "",
    server: Server = None,
    token: Token = None,
) -> None:
    """Report the scores of a trial at a step; prints what to do: continue, prune or stop."""
    with connect(server, token) as client:
        print(client.report(name, lease_token, step, _numbers(scores or ()), checkpoint, log).value)


def tell(
    name: StudyName,
    lease_token: LeaseToken,
    scores: Scores = None,
    state: Annotated[EndState, typer.Option(help="How it ended; released gives it back.")] = EndState.COMPLETE,
    value: Annotated[float | None, typer.Option(help="The final score of the objective.")] = None,
    reason: Annotated[FailureReason | None, typer.Option(help="Of a failure.")] = None,
    message: Annotated[str | None, typer.Option(help="The same for people.")] = None,
    log: Log = "",
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Tell the end of a trial. Without --value its score is that of its reports."""
    with connect(server, token) as client:
        why: Failure | None = None if reason is None else reason.value
        metrics = _numbers(scores or ())
        trial = client.tell(name, lease_token, state.value, value, metrics, why, message, log)
    told = {"trial": trial.number, "state": trial.state.value, "reason": trial.reason and trial.reason.value}
    emit(trial, output, facts(told | {"value": None if trial.value is None else score(trial.value)}))


def _numbers(settings: Iterable[str]) -> dict[str, float]:
    """Return scores from texts such as `accuracy=0.91`. Raises CommandError."""
    numbers: dict[str, float] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        try:
            number = float(text)
        except ValueError:
            number, equals = 0.0, ""
        if not name or not equals:
            raise CommandError(USAGE, f"{setting}: a score is given as METRIC=VALUE, as accuracy=0.91.")
        if name in numbers:
            raise CommandError(USAGE, f"{name} is given twice.")
        numbers[name] = number
    return numbers
