"""The commands `luthier results` and `luthier write-report`: the tables of a study's winner, and all of it as one file.

The docstring of a command is its help text.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.connect import Server, StudyName, Token, connect, tell
from luthier.service.cli.examples import add
from luthier.service.cli.output import Format, Output, emit, facts, table
from luthier.service.cli.paths import check_target

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.schemas.results import ResultsView
    from luthier.studies.winner_tables import Example, SplitResults

SHOWN = 10  # classes and examples of a table for people; -o json has all
CHARACTERS = 60  # of an input


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add(app, results, "results", "Studies on a service")
    add(app, write_report, "write-report", "Studies on a service")


def results(name: StudyName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Show how the winner did: by class, what it confuses, how sure it is, and the examples to look at."""
    with connect(server, token) as client:
        found = client.results(name)
    emit(found, output, *(_tables(found) if output is Format.TABLE else ()))
    if output is Format.TABLE and found.test is None and found.validation is None:
        tell("An older version measured this winner, and kept no tables. Run the spec again under another name.")


def write_report(
    name: StudyName,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The html file; else NAME-report.html here.")
    ] = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Write a study as one html file that can be mailed: winner, tables, trials, plots, spec. It needs no network."""
    target = file or Path(f"{name}-report.html")
    check_target(target)
    with connect(server, token) as client:
        print(client.write_report(name, target))


def _tables(found: "ResultsView") -> Iterator["Table"]:
    if found.is_earlier:
        yield facts({"winner": f"trial {found.trial}, before the study was extended; no winner was measured since"})
    for split, tables in (("test", found.test), ("validation", found.validation)):
        if tables is not None:
            yield from _split(split, tables)


def _split(split: str, found: "SplitResults") -> Iterator["Table"]:
    """Yield the tables of a split as a person reads them."""
    told = {name: _number(value) for name, value in found.metrics.items()}
    if found.calibration is not None:
        told["expected calibration error"] = _number(found.calibration.expected_error)
    if found.residuals is not None:
        told |= {f"residual at {100 * float(q):g} %": _number(v) for q, v in found.residuals.quantiles.items()}
    yield facts(told, title=f"{split.capitalize()} ({found.rows:,} rows)")
    if found.classes:
        rows = (
            (one.label, _number(one.precision), _number(one.recall), _number(one.f1), one.support)
            for one in found.classes[:SHOWN]
        )
        yield table(("class", ">precision", ">recall", ">f1", ">rows"), rows, title=f"{split}: by class")
    if found.confusion is not None and len(found.confusion.labels) <= SHOWN:
        labels = found.confusion.labels
        counts = ((label, *row) for label, row in zip(labels, found.confusion.counts, strict=True))
        yield table(("true", *(f">{label}" for label in labels)), counts, title=f"{split}: true and predicted")
    for title, examples in (("worst", found.worst), ("least sure", found.uncertain)):
        if examples:
            yield table(
                (">row", "input", "truth", "prediction", ">score", ">loss"),
                map(_example, examples[:SHOWN]),
                title=f"{split}: {title}",
            )


def _example(one: "Example") -> tuple[object, ...]:
    text = one.input if len(one.input) <= CHARACTERS else f"{one.input[:CHARACTERS]}..."
    return (one.row, text, one.truth, one.prediction, _number(one.score), _number(one.loss))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
