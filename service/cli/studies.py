"""The commands about studies on a service: create, show, steer and delete them, download the winner.

The docstring of a command is its help text.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.service.cli.confirm import Yes, confirm, losses_of_study
from luthier.service.cli.connect import (
    FAILURE,
    INTERRUPTED,
    USAGE,
    CommandError,
    ModelFolder,
    Server,
    SpecArgument,
    SpecFile,
    StudyName,
    Token,
    chosen_file,
    connect,
    read_text,
    tell,
)
from luthier.service.cli.examples import add
from luthier.service.cli.first_look import told_of_elsewhere
from luthier.service.cli.model_facts import whose
from luthier.service.cli.old_trials import with_import, with_warm_start
from luthier.service.cli.output import Format, Output, emit, print_schema, show
from luthier.service.cli.paths import check_file
from luthier.service.cli.steering import TrialNumber, delete_trial, stop_trial
from luthier.service.cli.study_tables import studies_table, study_facts, study_tables

if TYPE_CHECKING:
    from luthier.service.schemas import StudyView

PANEL = "Studies on a service"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (create, list_studies, get, watch, wait, best, pause, resume, stop, cancel, delete, model, schema):
        add(app, command, "list" if command is list_studies else command.__name__, PANEL)


def create(
    spec: SpecArgument = None,
    file: SpecFile = None,
    old_trials: Annotated[
        Path | None,
        typer.Option("--import", metavar="CSV", help="Old trials, whose configurations are run first, the best first."),
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(metavar="STUDY", help="A study of the service whose best configurations are run first."),
    ] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Create a study; the same spec again returns the study that exists."""
    text = read_text(chosen_file(spec, file))
    if old_trials is not None:
        check_file(old_trials)
        if warm_start is not None:
            raise CommandError(USAGE, "--import and --warm-start both say what runs first: keep one of them.")
    with connect(server, token) as client:
        tell(*told_of_elsewhere(text, client.url))
        written: str | dict[str, Any] = text
        if old_trials is not None:
            written = with_import(text, old_trials)
        elif warm_start is not None:
            written = with_warm_start(text, warm_start)
        study = client.create(written)
    emit(study, output, *study_tables(study))


def list_studies(
    state: Annotated[str | None, typer.Option(help="Only studies in this state.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only studies with this tag; given several times, with each of them.")
    ] = None,
    search: Annotated[str | None, typer.Option(help="Only studies whose name holds this text.")] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """List the studies."""
    with connect(server, token) as client:
        studies = list(client.list(state, tag, search))
    emit(studies, output, studies_table(studies))


def get(name: StudyName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Show a study."""
    with connect(server, token) as client:
        study = client.get(name)
    emit(study, output, *study_tables(study))


def watch(name: StudyName, server: Server = None, token: Token = None) -> None:
    """Show a study live until it ends; in a pipe, a line for each change. Exit code 1 unless it completed."""
    from luthier.service.cli.live import live
    from luthier.service.cli.progress import lines, picture

    try:
        with connect(server, token) as client:
            if sys.stdout.isatty():
                picture(live(client, name), sys.stdout)
                study = client.get(name)
                show(*study_tables(study))
            else:
                study = lines(live(client, name), sys.stdout)
    except KeyboardInterrupt:
        raise CommandError(INTERRUPTED) from None
    _require_completed(study, told=True)


def wait(name: StudyName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Wait until a study has ended, and show it. Exit code 1 unless it completed."""
    from luthier.service.cli.live import live

    with connect(server, token) as client:
        for _ in live(client, name):
            pass
        study = client.get(name)
    emit(study, output, *study_tables(study))
    _require_completed(study)


def _require_completed(study: "StudyView", told: bool = False) -> None:
    """Raise CommandError unless the study completed; without a sentence where its state was told."""
    from luthier.studies.protocol import StudyState

    if study.state is StudyState.COMPLETED:
        return
    line = f"The study {study.name} is {study.state.value}" + (f": {study.error}" if study.error else ".")
    raise CommandError(FAILURE, *([] if told and not study.error else [line]))


def best(name: StudyName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Show the best trial, its configuration and its scores."""
    with connect(server, token) as client:
        study = client.get(name)
    if study.best is None:
        raise CommandError(FAILURE, f"The study {name} has no best trial yet: none has a score.")
    emit(study.best, output, study_facts(study, only_best=True))


def pause(name: StudyName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Start no new trials for now."""
    _steer("pause", name, server, token, output)


def resume(name: StudyName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Resume a paused study."""
    _steer("resume", name, server, token, output)


def stop(
    name: StudyName,
    number: TrialNumber = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Let running trials finish, start none, measure the winner; with N, end that trial and keep its best score."""
    if number is None:
        _steer("stop", name, server, token, output)
    else:
        stop_trial(name, number, server, token, output)


def cancel(name: StudyName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """End a study now, running trials too."""
    _steer("cancel", name, server, token, output)


def _steer(verb: str, name: str, server: str | None, token: str | None, output: Format) -> None:
    with connect(server, token) as client:
        study: StudyView = getattr(client, verb)(name)
    emit(study, output, *study_tables(study))


def delete(
    name: StudyName, number: TrialNumber = None, yes: Yes = False, server: Server = None, token: Token = None
) -> None:
    """Delete an ended study, its trials and its model, or with N that trial; on a terminal it asks."""
    from luthier.studies.protocol import ENDED

    if number is not None:
        delete_trial(name, number, yes, server, token)
        return
    with connect(server, token) as client:
        study = client.get(name)
        if study.state in ENDED:  # else the service refuses
            confirm(lambda: losses_of_study(study), yes)
        client.delete(name)
    tell(f"The study {name} was deleted.")


def model(name: StudyName, output: ModelFolder, server: Server = None, token: Token = None) -> None:
    """Download the winner: a directory for `from_pretrained`, checked against its checksum."""
    with connect(server, token) as client:
        study = client.get(name)
        folder = client.download_model(name, output)
    if study.model is not None and study.model.is_earlier:
        tell(f"This model is {whose(study.model)}; no winner was measured since.")
    print(folder)


def schema() -> None:
    """Print the JSON Schema of a spec."""
    from luthier.studies.spec import StudySpec

    print_schema(StudySpec)
