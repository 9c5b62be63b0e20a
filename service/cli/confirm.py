"""The question before something is deleted: asked on a terminal only, so that scripts go on as they did.

The commands `delete` call it, with what goes away.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.connect import FAILURE, CommandError, tell
from luthier.service.cli.output import size

if TYPE_CHECKING:
    from luthier.service.schemas import ScheduleView, StudyView, TrialView

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Without a terminal nothing is asked.")]


def confirm(what: Callable[[], str], yes: bool) -> None:
    """Say what goes away and ask whether it may, on a terminal.

    Args:
        what: returns a sentence that says what goes away; called only where it is asked.
        yes: Do not ask.

    Raises:
        CommandError: The answer is no, or there is none.
    """
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    tell(what())
    print("Delete it? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = input()
    except (EOFError, KeyboardInterrupt):
        tell("")
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError(FAILURE, "Nothing was deleted.")


def losses_of_study(study: "StudyView") -> str:
    """Return what goes with a study, as a sentence."""
    trials = sum(study.counts.model_dump().values())
    parts = [f"its {_counted(trials, 'trial')} with their scores and logs"] if trials else []
    if study.model is not None:
        parts.append(f"the winner's model on the service ({size(study.model.bytes)})")
    goes = f": {' and '.join(parts)}. Models that were downloaded stay" if parts else ", which has no trials"
    return f"The study {study.name} is {study.state.value} and goes for good{goes}."


def losses_of_trial(study: str, trial: "TrialView") -> str:
    """Return what goes with a trial, as a sentence."""
    parts = ["its scores", "its log", *(f"{file.name} ({size(file.bytes)})" for file in trial.files)]
    goes = f"{', '.join(parts)}, and what the search has learned from it"
    return f"Trial {trial.number} of {study} is {trial.state.value} and goes for good: {goes}."


def losses_of_schedule(view: "ScheduleView", runs: int) -> str:
    """Return what goes with a schedule and its runs, as a sentence."""
    parts = [f"its {_counted(runs, 'run')}"]
    if view.champion is not None:
        parts.append("its champions, the model in use among them")
    return f"The schedule {view.name} goes for good, with {' and '.join(parts)}. The studies of its runs stay."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
