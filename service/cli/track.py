"""The command `luthier track`: a study told to the experiment trackers that people have.

The docstring of a command is its help text.
"""

from typing import Annotated

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
    tell,
)
from luthier.service.cli.examples import add
from luthier.service.cli.signals import end_at_once, terminated_is_interrupted
from luthier.service.cli.tracked import check_trackers

TRACKERS = "mlflow, wandb, tensorboard or trackio; may be given several times."


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add(app, track, "track", "Studies on a service")


def track(
    name: StudyName,
    to: Annotated[list[str], typer.Option("--to", metavar="TRACKER", help=f"One of {TRACKERS}")],
    model: Annotated[bool, typer.Option("--model", help="Hand the winner's model to MLflow and W&B, too.")] = False,
    server: Server = None,
    token: Token = None,
) -> None:
    """Tell experiment trackers of a study until it has ended: a run for the study, and one for each trial.

    Where they are and their keys is what their own variables say, as MLFLOW_TRACKING_URI or WANDB_MODE. The same
    command again goes on where it was; nothing is told twice.
    """
    check_trackers(to)
    end_at_once()
    from luthier.service.trackers.audience import Audience
    from luthier.service.trackers.follow import track as follow
    from luthier.service.trackers.kinds import Unavailable, open_tracker

    try:
        trackers = {kind: open_tracker(kind) for kind in to}
    except Unavailable as error:
        raise CommandError(USAGE, str(error)) from None
    audience = Audience(trackers, name, tell)
    try:
        with connect(server, token) as client, terminated_is_interrupted():
            study = follow(client, name, audience, model)
    except KeyboardInterrupt:
        raise CommandError(INTERRUPTED, f"Left: {name} goes on; the same command tells the rest.") from None
    told = [tracker.title for kind, tracker in trackers.items() if kind not in audience.failed]
    if told and study is not None:
        print(f"{study.name} is {study.state.value}; {', '.join(told)} has it whole.")
    if audience.failed:
        raise CommandError(FAILURE)
