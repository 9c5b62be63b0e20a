"""The command `luthier extend`: more budget for a study on a service.

The docstring of a command is its help text.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.service.cli.connect import USAGE, CommandError, Server, StudyName, Token, connect
from luthier.service.cli.examples import add
from luthier.service.cli.output import Format, Output, emit
from luthier.service.cli.studies import PANEL
from luthier.service.cli.study_tables import study_tables

if TYPE_CHECKING:
    from luthier.service.schemas import StudyView

HOUR = 3600.0  # seconds
NONE = "none"
OPTIONS = {
    "trials": "--trials",
    "wall_clock_seconds": "--hours",
    "gpu_seconds": "--gpu-seconds",
    "failures": "--failures",
    "patience": "--patience",
}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add(app, extend, "extend", PANEL)


def extend(
    name: StudyName,
    trials: Annotated[int | None, typer.Option(min=1, metavar="N", help="So many trials more.")] = None,
    hours: Annotated[
        float | None, typer.Option(min=0, metavar="H", help="So many hours of wall-clock time more.")
    ] = None,
    gpu_seconds: Annotated[float | None, typer.Option(min=0, metavar="S", help="So many GPU seconds more.")] = None,
    failures: Annotated[int | None, typer.Option(min=1, metavar="N", help="So many failed trials more.")] = None,
    patience: Annotated[
        str | None, typer.Option(metavar="N", help="So many trials more without a better one; none for no such limit.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="SCORE", help="A new target in place of the present one; none for no target.")
    ] = None,
    expected_gain: Annotated[
        str | None, typer.Option(metavar="GAIN", help="A smaller expected gain to stop at; none for no such limit.")
    ] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Give a study more budget than it has; one that has ended goes on with its search's memory.

    Without options a study that was stopped or cancelled goes on with what is left of its budget.
    """
    seconds = None if hours is None else hours * HOUR
    more = {"trials": trials, "wall_clock_seconds": seconds, "gpu_seconds": gpu_seconds, "failures": failures}
    added: dict[str, float] = {key: value for key, value in more.items() if value is not None}
    replaced: dict[str, float | None] = {}
    if target is not None:
        replaced["target"] = _score("--target", target)
    if expected_gain is not None:
        replaced["expected_gain"] = _score("--expected-gain", expected_gain)
    if patience is not None:
        if patience.strip().lower() == NONE:
            replaced["patience"] = None
        else:
            added["patience"] = _patience(patience)
    with connect(server, token) as client:
        present = client.get(name)
        if present.state == "completed" and not added and not replaced:
            raise CommandError(USAGE, f"{name} has used its budget up: say how much more it gets, such as --trials 20.")
        budget = _totals(present, added) | replaced
        study = client.extend(name, budget)
    emit(study, output, *study_tables(study))


def _totals(study: "StudyView", added: dict[str, float]) -> dict[str, Any]:
    """Return the totals of a budget with more of each limit. Raises CommandError where the study has no such limit."""
    present = study.spec.get("budget", {})
    for key in added:
        if present.get(key) is None:
            limits = ", ".join(f"{limit} {value:g}" for limit, value in present.items() if value is not None)
            raise CommandError(USAGE, f"{OPTIONS[key]}: {study.name} has no such limit; its budget is {limits}.")
    return {key: present[key] + value for key, value in added.items()}


def _patience(text: str) -> int:
    if text.strip().isdecimal() and int(text) > 0:
        return int(text)
    raise CommandError(USAGE, f"--patience: {text} is neither a number of trials, from 1 on, nor {NONE}.")


def _score(option: str, text: str) -> float | None:
    if text.strip().lower() == NONE:
        return None
    try:
        return float(text)
    except ValueError:
        raise CommandError(USAGE, f"{option}: {text} is neither a score nor {NONE}.") from None
