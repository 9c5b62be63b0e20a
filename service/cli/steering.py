"""The commands about one trial (`luthier retry`, `stop NAME N`, `delete NAME N`), and `luthier update`.

The docstring of a command is its help text.
"""

from typing import Annotated

import typer

from luthier.service.cli.completion import trial_numbers
from luthier.service.cli.confirm import confirm, losses_of_trial
from luthier.service.cli.connect import USAGE, CommandError, Server, StudyName, Token, connect, read_text, tell
from luthier.service.cli.examples import add
from luthier.service.cli.output import Format, Output, emit, facts
from luthier.service.cli.trials import KnownTrial, trials_table

TrialNumber = Annotated[
    int | None,
    typer.Argument(metavar="[N]", help="A trial's number.", min=0, show_default=False, autocompletion=trial_numbers),
]
MANY = "may be given several times."


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    add(app, retry, "retry", "Trials")
    add(app, update, "update", "Studies on a service")


def retry(
    name: StudyName,
    number: KnownTrial,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Run a failed, cancelled or pruned trial again, with its seed, as a new trial."""
    with connect(server, token) as client:
        trial = client.retry_trial(name, number)
    emit(trial, output, trials_table([trial]))


def stop_trial(name: str, number: int, server: str | None, token: str | None, output: Format) -> None:
    """Have a trial end at its next evaluation, and show it."""
    with connect(server, token) as client:
        trial = client.stop_trial(name, number)
    emit(trial, output, trials_table([trial]))


def delete_trial(name: str, number: int, yes: bool, server: str | None, token: str | None) -> None:
    """Delete a trial; on a terminal it says what goes, and asks."""
    with connect(server, token) as client:
        trial = client.trial(name, number)
        confirm(lambda: losses_of_trial(name, trial), yes)
        client.delete_trial(name, number)
    tell(f"Trial {number} of {name} was deleted.")


def update(
    name: StudyName,
    tag: Annotated[list[str] | None, typer.Option(help=f"A tag to add; {MANY}")] = None,
    untag: Annotated[list[str] | None, typer.Option(help=f"A tag to take away; {MANY}")] = None,
    notes: Annotated[
        str | None, typer.Option(help='Text in place of the notes that it has; "" for none, - for stdin.')
    ] = None,
    parallel: Annotated[int | None, typer.Option(min=1, help="Trials that may run at the same time.")] = None,
    weight: Annotated[float | None, typer.Option(help="Its share, beside other studies of its project.")] = None,
    priority: Annotated[int | None, typer.Option(help="A higher one goes first, within its project.")] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Change a study's tags, its notes, its share, or how many of its trials may run at the same time."""
    from pathlib import Path

    if not tag and not untag and all(value is None for value in (notes, parallel, weight, priority)):
        options = "--tag, --untag, --notes, --parallel, --weight or --priority"
        raise CommandError(USAGE, f"Nothing is to be changed: give {options}.")
    text = read_text(Path("-")) if notes == "-" else notes
    with connect(server, token) as client:
        study = client.get(name)
        tags = None
        if tag or untag:
            away = {old.strip().lower() for old in untag or ()}
            tags = [*(old for old in study.tags if old.lower() not in away), *(tag or ())]
        study = client.update(name, tags, text, parallel, study.etag, weight=weight, priority=priority)
    changed: dict[str, object] = {
        "study": study.name,
        "tags": ", ".join(study.tags) or "none",
        "notes": study.notes or None,
    }
    changed |= {"parallel": study.parallel, "weight": f"{study.weight:g}", "priority": study.priority}
    emit(study, output, facts(changed))
