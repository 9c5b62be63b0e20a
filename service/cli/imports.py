"""The command `luthier import`: a search of another tool as a spec, and what has no equal here.

The docstring of a command is its help text.
"""

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.service.cli.connect import USAGE, CommandError, problems, read_text, tell
from luthier.service.cli.controls import clean
from luthier.service.cli.examples import add
from luthier.service.cli.init import STDOUT, looked_at
from luthier.service.cli.paths import check_file, check_new, check_source
from luthier.service.cli.run import PANEL

if TYPE_CHECKING:
    from luthier.studies.importers.draft import Draft

NEEDED = ("task", "model", "dataset", "space", "budget")
ORDER = ("name", "task", "model", "dataset", "objective", "space", "sampler", "pruner", "seed", "budget", "parallel")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add(app, import_, "import", PANEL)


def import_(
    source: Annotated[
        str, typer.Argument(metavar="FILE", show_default=False, help="The document, or the storage of an Optuna study.")
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="SPEC", help="Else NAME.yaml; - for stdout.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Guess task, model and data set of it, as `luthier init` does.")
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="NAME", help="Which study of an Optuna storage.")] = None,
) -> None:
    """Write a spec for a search of another tool; nothing that the document names is run.

    It reads a sweep of Weights & Biases, an experiment of Katib, a tuning job of SageMaker, a StudySpec of Vizier, and
    a study of Optuna (a SQLite file, a journal file, or a URL), whose trials go into a csv beside the spec. What has no
    equal here is listed by its path.
    """
    _look_at_paths(source, output, data)
    draft = _draft(source, study)
    spec = {"name": _name(draft.spec.pop("name", None) or Path(source).stem)} | draft.spec
    if data is not None:
        spec = _with_data(spec, data)
    given, source = Path(source), shown(source)
    text = _written(spec, draft, source)
    tell(f"{source} is {draft.tool}.")
    tell(*(f"left out: {path}: {why}" for path, why in draft.left.items()))
    if output == STDOUT:
        print(text, end="")
        if draft.trials:
            tell(f"Its {len(draft.trials)} trials are not written: name a file with -o for a csv beside it.")
        return
    file = Path(output) if output else _free(spec["name"], given)
    beside = file.with_suffix(".trials.csv")
    if draft.trials:
        check_new(beside)
    _create(file, text)
    faults = _faults(spec, text)
    tell(f"{file} is written: " + (faults[0] if faults else f"read it, then `luthier plan {file}`."), *faults[1:])
    if draft.trials:
        _create_trials(beside, draft.trials)
        many, command = len(draft.trials), f"luthier create {file} --import {beside}"
        tell(f"{beside} has its {many} trials; `{command}` tries the best first.")


def _look_at_paths(source: str, output: str | None, data: str | None) -> None:
    """Raise CommandError for a path that is not there, or a file that is."""
    if "://" not in source:
        check_file(Path(source))
    if data is not None:
        check_source(data)
    if output is not None and output != STDOUT:
        check_new(Path(output))


def _draft(source: str, study: str | None) -> "Draft":
    from luthier.studies.importers.documents import is_storage, read_foreign

    try:
        if not is_storage(source):
            return read_foreign(read_text(Path(source)))
        from luthier.studies.search.foreign_storage import read_storage  # it brings Optuna, which takes a second

        return read_storage(source, study)
    except ValueError as error:
        raise CommandError(USAGE, f"{shown(source)}: {error}.") from None


def shown(source: str) -> str:
    """Return a file, or a URL without the user and the password in it."""
    return re.sub(r"://[^/]*@", "://...@", source)


def _free(name: str, source: Path) -> Path:
    """Return where a spec goes that -o does not say: never over the document itself. Raises CommandError."""
    file = Path(f"{name}.yaml")
    if file.exists() and source.exists() and file.samefile(source):
        file = Path(f"{name}-spec.yaml")
    check_new(file)
    return file


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "imported"


def _with_data(spec: dict[str, Any], data: str) -> dict[str, Any]:
    """Return a spec with task, model, data set and metric as guessed from data, where it has none."""
    from luthier.studies.documents import mapping_of

    found = looked_at(data)
    if "fault" in found:
        raise CommandError(USAGE, found["fault"])
    guessed = mapping_of(found["spec"], "a first spec is a mapping")
    objective = guessed["objective"] | spec.get("objective", {})  # the document may say a part of it
    return {key: guessed[key] for key in ("task", "model", "dataset")} | spec | {"objective": objective}


def _written(spec: dict[str, Any], draft: "Draft", source: str) -> str:
    """Return the spec as YAML, with what it lacks and what was left out as comments."""
    import yaml

    lines = [f"# {Path(source).name}, {draft.tool}, as written by `luthier import`."]
    lines += [f"# left out: {path}: {why}" for path, why in draft.left.items()]
    if missing := [key for key in NEEDED if key not in spec]:
        lines.append(f"# To be written, as the document does not say it: {', '.join(missing)}.")
    ordered = {key: spec[key] for key in ORDER if key in spec}
    body = yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    return "\n".join(clean(" ".join(line.split())) for line in lines) + "\n" + body


def _faults(spec: dict[str, Any], text: str) -> list[str]:
    """Return what is still wrong with the written spec, as lines."""
    from pydantic import ValidationError

    from luthier.studies.spec import parse_spec

    if missing := [key for key in NEEDED if key not in spec]:
        return [f"write {', '.join(missing)} into it, which the document does not say (or give --data DATA)."]
    try:
        parse_spec(text)
    except ValidationError as error:
        return ["mend it, then `luthier plan` it:", *map(str, problems(error))]
    return []


def _create(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as opened:  # never over somebody's own file
            opened.write(text)
    except FileExistsError:
        raise CommandError(USAGE, f"{file} exists already; name another file with -o, or - for stdout.") from None


def _create_trials(file: Path, trials: list[dict[str, Any]]) -> None:
    try:
        with file.open("x", encoding="utf-8", newline="") as opened:
            columns = dict.fromkeys(column for row in trials for column in row)
            rows = csv.DictWriter(opened, list(columns), lineterminator="\n")
            rows.writeheader()
            rows.writerows(trials)
    except FileExistsError:
        raise CommandError(USAGE, f"{file} exists already; move it, or name another spec with -o.") from None
