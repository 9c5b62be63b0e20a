"""The command `luthier run`: the service embedded for one study, no server needed.

The docstring of a command is its help text.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.connect import (
    FAILURE,
    INTERRUPTED,
    USAGE,
    CommandError,
    SpecArgument,
    SpecFile,
    chosen_file,
    load_settings,
    read_spec,
    starting,
    tell,
)
from luthier.service.cli.examples import add
from luthier.service.cli.first_look import first_faults
from luthier.service.cli.output import Format, emit, show
from luthier.service.cli.own_service import OwnService, find_holder, token_of, waited_service
from luthier.service.cli.signals import end_at_once
from luthier.service.cli.track import TRACKERS
from luthier.service.cli.tracked import Tracked, check_trackers
from luthier.studies.host import usable_cores

if TYPE_CHECKING:
    from luthier.service.cli.follow import Snapshot
    from luthier.service.client import Client
    from luthier.service.schemas import StudyView
    from luthier.service.server.home import Holder
    from luthier.service.settings import Settings

PANEL = "Search on this machine"
POLL_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add(app, run, "run", PANEL)


def run(
    spec: SpecArgument = None,
    file: SpecFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the final study as JSON on stdout.")] = False,
    model_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put the winner here; else under LUTHIER_HOME/models.")
    ] = None,
    track: Annotated[
        list[str] | None, typer.Option(metavar="TRACKER", help=f"Tell a tracker of it: {TRACKERS}")
    ] = None,
) -> None:
    """Run one study to its end, with the service and its workers inside this process.

    Where `luthier serve` serves the same LUTHIER_HOME, the study goes to that service instead.
    The same spec again continues where it was interrupted, or shows the finished study.
    """
    text, parsed = read_spec(chosen_file(spec, file))
    if parsed.is_external:
        text = f"{parsed.name} is for a trainer of your own, which asks a service for trials; nothing trains it here."
        raise CommandError(
            USAGE, f"{text} Start `luthier serve`, then `luthier create` it; docs/external.md says more."
        )
    check_trackers(track or ())
    if model_dir is not None:
        from luthier.service.download import check_vacant

        check_vacant(model_dir)
    settings = settings_for(parsed.parallel)
    end_at_once()
    holder = find_holder(settings.home)
    if holder is None and not as_json:  # programs get the failed study
        look_first(text, parsed.name, settings)
    with (
        searching(settings, parsed.name, holder) as service,
        Tracked(track or (), service.client.url, token_of(service, settings), service.client.project_name) as tracked,
    ):
        study = search(service, lambda: service.client.create(text), tracked.start)
        _finish(service.client, study, model_dir, settings.home, as_json)
    judge(study, holder)


def settings_for(parallel: int) -> "Settings":
    """Return the settings of the environment, with a worker for each trial that runs at once. Raises CommandError."""
    settings = load_settings()
    workers = {"cpu_workers": settings.cpu_workers or min(parallel, usable_cores())}
    workers["workers_per_gpu"] = min(parallel, settings.workers_per_gpu)
    return settings.model_copy(update=workers)


@contextmanager
def searching(settings: "Settings", name: str, holder: "Holder | None") -> Iterator[OwnService]:
    """Yield the service for a study's search. Raises CommandError where it is interrupted, with what goes on then."""
    try:
        with waited_service(settings, name, holder) as service:
            yield service
    except KeyboardInterrupt:
        if holder is None:
            line = "Interrupted: running trials were given back. The same command goes on from there."
        else:
            line = f"Left: the study goes on in the service at {holder.url}. The same command follows it again, and "
            line += f"`luthier cancel {name} --server {holder.url}` ends it."
        raise CommandError(INTERRUPTED, line) from None


def look_first(text: str, name: str, settings: "Settings") -> None:
    """Refuse wrong paths and columns at once, unless the study has begun. Raises CommandError."""
    faults = first_faults(text, settings)
    if faults and not _has_begun(name, settings):
        raise CommandError(USAGE, *faults)


def _has_begun(name: str, settings: "Settings") -> bool:
    """Return whether a study was inspected before: then its data may be away, and it is shown or goes on."""
    if settings.database_url is None and not (settings.home / "luthier.db").exists():
        return False
    from luthier.service.client import Client, ServiceError
    from luthier.service.server.embedded import Embedded

    with (
        starting(),
        Embedded(settings, study="", fleet="none") as service,
        Client(service.url, service.token, project="") as client,
    ):
        try:
            return client.get(name).data is not None
        except ServiceError:
            return False


def search(
    service: OwnService, create: Callable[[], "StudyView"], started: Callable[[str], None] = lambda name: None
) -> "StudyView":
    """Create the study, or continue it, and show its progress; return the ended study.

    Args:
        service: answers, and works on the study.
        create: creates it, or returns the one that is there.
        started: called with its name once it is there.
    """
    from luthier.service.cli.follow import follow
    from luthier.service.cli.progress import display
    from luthier.studies.protocol import StudyState

    client = service.client
    study = create()
    if _never_began(study):
        tell(f"The study {study.name} is {study.state.value} and has no trial yet; it starts over.")
        client.delete(study.name)
        study = create()
    if study.state is StudyState.PAUSED:
        tell(f"The study {study.name} was paused; it goes on now.")
        study = client.resume(study.name)
    elif study.state is StudyState.FAILED and study.best is not None:
        study = _measured_again(client, study)
    started(study.name)
    return display(_with_workers(service, follow(client, study.name, POLL_SECONDS)))


def _measured_again(client: "Client", study: "StudyView") -> "StudyView":
    """Return a failed study as it goes on, to measure its winner; as it is where it failed for another reason."""
    from luthier.service.client import ServiceError

    if study.model is not None and not study.model.is_earlier:
        return study
    try:
        resumed = client.resume(study.name)
    except ServiceError as error:
        if error.status != 409:
            raise
        return study
    tell(f"The study {study.name} was not measured; it goes on now.")
    return resumed


def _never_began(study: "StudyView") -> bool:
    """Return whether a study ended without a trial, because of its data for example: starting over loses nothing."""
    from luthier.studies.protocol import StudyState

    return study.state in (StudyState.FAILED, StudyState.CANCELLED) and sum(study.counts.model_dump().values()) == 0


def _with_workers(service: "OwnService", snapshots: Iterable["Snapshot"]) -> Iterator["Snapshot"]:
    """Yield the snapshots. Raises CommandError once no worker stays up, or the study waits for what workers lack."""
    from luthier.studies.protocol import StudyState

    for snapshot in snapshots:
        yield snapshot
        if service.problem is not None:
            raise CommandError(FAILURE, service.problem)
        study = snapshot.study
        is_waiting = study.state is StudyState.PAUSED and study.message is not None and not snapshot.running
        if is_waiting and service.embedded is not None:  # a service that goes on after this command can resume it
            raise CommandError(FAILURE, study.message or "", "Here the same command resumes it.")


def _finish(client: "Client", study: "StudyView", model_dir: Path | None, home: Path, as_json: bool) -> None:
    """Unpack the winner and print the study."""
    from luthier.service.cli.progress import results

    folder = None
    if study.model is not None:
        # Named by content, so that a folder that exists already holds this very model.
        folder = model_dir or home / "models" / f"{study.name}-{study.model.sha256[:8]}"
        if model_dir is not None or not folder.exists():
            client.download_model(study.name, folder)
    elif model_dir is not None:
        tell(f"{model_dir} was not made: the study has no model.")
    if as_json:
        emit(study, Format.JSON)
    else:
        show(*results(study, client.trials(study.name), str(folder) if folder else None))
        if study.message and sys.stderr.isatty():  # else it is among the lines
            tell(study.message)


def judge(study: "StudyView", holder: "Holder | None" = None) -> None:
    """Raise CommandError unless the study completed."""
    from luthier.studies.protocol import StudyState

    if study.state is StudyState.COMPLETED:
        return
    how = f"The study {study.name} is {study.state.value}"
    lines = [f"{how}: {study.error}" if study.error else f"{how}."]
    if _never_began(study):
        lines.append("Once that is mended, the same command starts it over.")
    elif study.state in (StudyState.FAILED, StudyState.CANCELLED):
        cure = f"`luthier serve`, and in another terminal `luthier delete {study.name}`."
        if holder is not None:
            cure = f"`luthier delete {study.name} --server {holder.url}`."
        lines.append(f"To start over give the spec another name; or delete the study: {cure}")
    raise CommandError(FAILURE, *lines)
