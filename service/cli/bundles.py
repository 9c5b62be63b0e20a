"""The command `luthier rerun`, and the bundle of `luthier export --bundle`: a study as one file, and run again from it.

The docstring of a command is its help text.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.service.cli.connect import FAILURE, USAGE, CommandError, tell
from luthier.service.cli.examples import add
from luthier.service.cli.output import Format, emit
from luthier.service.cli.own_service import OwnService, find_holder
from luthier.service.cli.paths import check_file, check_target
from luthier.service.cli.run import PANEL, judge, look_first, search, searching, settings_for
from luthier.service.cli.signals import end_at_once
from luthier.studies.external import EXTERNAL

if TYPE_CHECKING:
    from luthier.service.cli.rerun_report import RerunView
    from luthier.service.client import Client
    from luthier.service.client.bundles import Bundle
    from luthier.service.schemas import StudyView, TrialView


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add(app, rerun, "rerun", PANEL)


def bundle_file(name: str, into: Path | None) -> Path:
    """Return the file that a study's bundle is to become. Raises CommandError where it cannot be written."""
    if into is None:
        raise CommandError(USAGE, f"A bundle is a file: name it, as in `luthier export {name} --bundle -o {name}.zip`.")
    check_target(into)
    return into


def export_bundle(client: "Client", name: str, into: Path, with_model: bool) -> None:
    """Write a study's bundle to a file."""
    client.export_bundle(name, into, with_model)
    tell(f"{into} has the study {name}. {_use(client.get(name), into)}")


def _use(study: "StudyView", bundle: Path) -> str:
    """Return what a study's bundle is good for."""
    if study.spec.get("task") == EXTERNAL:
        return "It is for a trainer of your own, which is not in it: `luthier rerun` cannot run it."
    if study.best is None:
        return f"It has no winner yet: `luthier rerun {bundle} --all` runs its whole search."
    return f"`luthier rerun {bundle}` runs its winner again and compares."


def rerun(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="As `luthier export NAME --bundle` wrote it.")],
    trial: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Run this trial again; without it the winner.")
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="Run the whole search again, with its seed.")] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the new study; else that of the bundle's, with -rerun.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="SOURCE", help="Where the data is now, if it has moved.")] = None,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="Where the model is now, if it has moved.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON on stdout.")] = False,
) -> None:
    """Run a trial of a bundle again on this machine, or its whole search, and compare the scores to the last digit.

    It exits with 0 if they are equal, and with 1 if they differ. The same command goes on where it was interrupted.
    """
    check_file(bundle)
    if whole and trial is not None:
        raise CommandError(USAGE, "--trial and --all exclude each other: give one.")
    before = _opened(bundle)
    number = None if whole else _chosen(before, trial)
    document = _spec(before, number, name, data, model)
    settings = settings_for(int(document["parallel"]))
    end_at_once()
    holder = find_holder(settings.home)
    if holder is None:
        look_first(json.dumps(document), document["name"], settings)
    with searching(settings, document["name"], holder) as service:
        again: list[int] = []
        study = search(service, _creator(service, before, document, number, again))
        view = _compared(service.client, before, study, number, again) if study.best is not None else None
    if view is None:
        judge(study, holder)
        raise CommandError(FAILURE, f"No trial of {study.name} has a score: there is nothing to compare.")
    _show(view, as_json)


def _opened(path: Path) -> "Bundle":
    """Return a bundle whose study can be run here. Raises CommandError."""
    from luthier.service.client.bundles import open_bundle
    from luthier.studies.bundles import BundleError

    try:
        before = open_bundle(path)
    except BundleError as error:
        raise CommandError(USAGE, str(error)) from None
    if before.spec.is_external:
        text = f"{before.study.name} is for a trainer of its user's own, which {path} does not hold: "
        raise CommandError(USAGE, text + "run that trainer with the parameters and seeds in its trials.jsonl.")
    return before


def _chosen(before: "Bundle", wanted: int | None) -> int:
    """Return the number of the trial that is to run again. Raises CommandError."""
    number = wanted
    if number is None and before.study.best is not None:
        number = before.study.best.trial
    if number is None:
        raise CommandError(USAGE, f"{before.study.name} has no winner: name a trial with --trial, or run --all.")
    trial = before.trials.get(number)
    if trial is None:
        raise CommandError(USAGE, f"The bundle of {before.study.name} has no trial {number}.")
    if not trial.values or trial.seed is None:
        text = f"Trial {number} of {before.study.name} is {trial.state.value} and has no scores to compare with"
        raise CommandError(USAGE, f"{text}; choose another one.")
    return number


def _spec(
    before: "Bundle", number: int | None, name: str | None, data: str | None, model: str | None
) -> dict[str, Any]:
    """Return the spec of the new study. Raises CommandError."""
    from luthier.studies import reruns

    warm = reruns.warm_key(before.spec) if number is None else None
    if warm is not None:
        text = f"{before.study.name} began with what another study had found ({warm}), which is not in the bundle: "
        raise CommandError(USAGE, text + "run one of its trials again with --trial.")
    name = name or reruns.rerun_name(before.study.name, number)
    try:
        if number is None:
            document = reruns.search_spec(before.spec, name)
        else:
            document = reruns.trial_spec(before.spec, name, number)
        document = reruns.with_paths(document, data, model)
    except ValueError as error:
        raise CommandError(USAGE, f"{before.study.name} {error}.") from None
    source = document["dataset"]["source"]
    if isinstance(source, str) and source.startswith("dataset:"):
        tell(f"The data is {source}, which was uploaded to a service: name the file with --data where it is not here.")
    return document


def _creator(
    service: OwnService, before: "Bundle", document: dict[str, Any], number: int | None, again: list[int]
) -> Callable[[], "StudyView"]:
    """Return a function that creates the new study with its one trial, or finds both; `again` gets its number."""
    client = service.client

    def create() -> "StudyView":
        study = client.create(document, before.spec.semantics)
        if study.finished_at is not None and study.best is not None:
            tell(f"{study.name} has run already, and is compared as it is; --name runs it anew under another name.")
        if number:
            trial: TrialView = before.trials[number]
            key = f"rerun-{number}-{trial.seed}"
            again[:] = [client.enqueue(study.name, trial.params, trial.seed, key).number]
        return study

    return create


def _compared(
    client: "Client", before: "Bundle", study: "StudyView", number: int | None, again: list[int]
) -> "RerunView":
    """Return the comparison with the new study, whose bundle is taken for it."""
    from luthier.service.cli.rerun_report import compare
    from luthier.service.client.bundles import open_bundle

    with tempfile.TemporaryDirectory() as scratch:
        now = open_bundle(client.export_bundle(study.name, Path(scratch, "now.zip")))
    if number is None:
        pairs = {trial.number: trial.number for trial in before.trials.values() if trial.values}
    else:
        pairs = {number: again[0] if again else 0}
    return compare(before, now, pairs)


def _show(view: "RerunView", as_json: bool) -> None:
    """Print a comparison. Raises CommandError where the scores differ."""
    from luthier.service.cli.rerun_report import sentences

    if as_json:
        emit(view, Format.JSON)
    else:
        for line in sentences(view):
            print(line)
    sys.stdout.flush()
    if not view.equal:
        raise CommandError(FAILURE)
