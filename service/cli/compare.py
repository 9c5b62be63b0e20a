"""The command `luthier compare`: studies by their best trials, or trials, side by side, as the page shows them.

The docstring of a command is its help text.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from luthier.service.cli.completion import study_or_trial
from luthier.service.cli.connect import USAGE, CommandError, Server, Token, connect, tell
from luthier.service.cli.examples import add
from luthier.service.cli.output import Format, Output, duration, emit, score, size, table
from luthier.studies.comparison import Row, param_rows, spec_rows

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.client import Client


class ComparedView(BaseModel):
    """One of those that are compared: a study by its best trial, or a trial.

    Attributes:
        name: as it was asked for, `my-study` or `my-study/3`.
        study: its study.
        trial: the number of the trial; None for a study without a score.
        state: of the study, or of the trial that was asked for.
        metric: that the study optimises.
        value: the trial's score by it, on validation.
        baseline: the score of the study's baseline.
        test: scores of the study's winner on the test split.
        seconds: that the trial took.
        peak_memory_bytes: of the trial.
        gpu_seconds: of the study.
        params: the trial's configuration.
        spec: of the study.
    """

    name: str
    study: str
    trial: int | None
    state: str
    metric: str
    value: float | None
    baseline: float | None
    test: dict[str, float | None]
    seconds: float | None
    peak_memory_bytes: int | None
    gpu_seconds: float
    params: dict[str, Any]
    spec: dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add(app, compare, "compare", "Studies on a service")


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            show_default=False,
            help="Studies, as my-study, and trials, as my-study/3; two or more.",
            autocompletion=study_or_trial,
        ),
    ],
    everything: Annotated[bool, typer.Option("--all", help="Show all of configurations and specs.")] = False,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Compare studies by their best trials, or trials: scores, costs, and what differs in configurations and specs."""
    wanted = [_parts(name) for name in dict.fromkeys(names)]
    if len(wanted) < 2:
        raise CommandError(USAGE, "Name two or more to compare: studies, as my-study, or trials, as my-study/3.")
    with connect(server, token) as client:
        sides = [_side(client, study, number) for study, number in wanted]
    emit(sides, output, *([_table(sides, everything)] if output is Format.TABLE else ()))
    metrics = dict.fromkeys(side.metric for side in sides)
    if len(metrics) > 1 and output is Format.TABLE:
        tell(
            f"They are scored by different metrics ({', '.join(metrics)}): their numbers say nothing about each other."
        )


def _parts(name: str) -> tuple[str, int | None]:
    """Return the study, and the number of the trial. Raises CommandError."""
    study, slash, number = name.partition("/")
    if slash and not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise CommandError(USAGE, f"{name}: a trial is a study's name, a slash and a number, as my-study/3.")
    return study, int(number) if slash else None


def _side(client: "Client", name: str, number: int | None) -> ComparedView:
    study = client.get(name)
    best = study.best
    shown = number if number is not None or best is None else best.trial
    trial = None if shown is None else client.trial(name, shown)
    return ComparedView(
        name=name if number is None else f"{name}/{number}",
        study=name,
        trial=shown,
        state=(study if trial is None or number is None else trial).state.value,
        metric=study.spec["objective"]["metric"],
        value=None if trial is None else trial.value,
        baseline=None if study.baseline is None else study.baseline.value,
        test=(best.test or {}) if best is not None else {},
        seconds=None if trial is None else trial.seconds,
        peak_memory_bytes=None if trial is None else trial.peak_memory_bytes,
        gpu_seconds=study.gpu_seconds,
        params={} if trial is None else trial.params,
        spec=study.spec,
    )


def _table(sides: Sequence[ComparedView], everything: bool) -> "Table":
    """Return the comparison as a person reads it, a column for each side."""
    rows = [*param_rows([side.params for side in sides]), *spec_rows([side.spec for side in sides])]
    shown = [(row.label, *row.values) for row in rows if everything or row.differs]
    return table(("", *(side.name for side in sides)), [*((row.label, *row.values) for row in _facts(sides)), *shown])


def _facts(sides: Sequence[ComparedView]) -> Iterator[Row]:
    """Yield the rows of states, scores and costs."""
    metrics = ", ".join(dict.fromkeys(side.metric for side in sides))
    yield Row("state", [side.state for side in sides])
    yield Row("trial", ["-" if side.trial is None else str(side.trial) for side in sides])
    yield Row(f"{metrics} on validation", [score(side.value) for side in sides])
    yield Row("baseline of its study", [score(side.baseline) for side in sides])
    for metric in dict.fromkeys(name for side in sides for name in side.test):
        yield Row(f"winner's {metric} on test", [score(side.test.get(metric)) for side in sides])
    yield Row("time of the trial", [duration(side.seconds) for side in sides])
    yield Row("memory", [size(side.peak_memory_bytes) for side in sides])
    yield Row("GPU time of the study", [duration(side.gpu_seconds) for side in sides])
