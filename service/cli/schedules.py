"""The commands `luthier schedule ...`: scheduled retuning on a service.

The docstring of a command is its help text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.completion import schedule_names
from luthier.service.cli.confirm import Yes, confirm, losses_of_schedule
from luthier.service.cli.connect import (
    USAGE,
    CommandError,
    ModelFolder,
    Server,
    Token,
    chosen_file,
    connect,
    problems,
    read_text,
    tell,
)
from luthier.service.cli.examples import add
from luthier.service.cli.output import (
    Format,
    Output,
    cell,
    configuration,
    emit,
    facts,
    print_schema,
    score,
    scores,
    table,
)

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.schemas import RunView, ScheduleView

BARS = "▁▂▃▄▅▆▇█"

ScheduleArgument = Annotated[
    Path | None, typer.Argument(metavar="FILE", show_default=False, help="The schedule, as YAML or JSON; - for stdin.")
]
ScheduleFile = Annotated[Path | None, typer.Option("--file", "-f", metavar="FILE", help="The same as FILE.")]
ScheduleName = Annotated[
    str, typer.Argument(metavar="NAME", help="The schedule's name.", autocompletion=schedule_names)
]
schedule = typer.Typer(no_args_is_help=True, help="Tune again on a schedule, and keep the better model.")


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    for command in (create, list_schedules, get, update, pause, resume, trigger, runs, model, rollback, delete, schema):
        name = "list" if command is list_schedules else command.__name__
        add(schedule, command, name, group="schedule ")
    app.add_typer(schedule, name="schedule", rich_help_panel="Schedules on a service")


def create(
    argument: ScheduleArgument = None,
    file: ScheduleFile = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Create a schedule; the same schedule again returns the one that exists."""
    text = read_text(chosen_file(argument, file, "schedule"))
    with connect(server, token) as client:
        view = client.create_schedule(text)
    emit(view, output, *_tables(view))


def list_schedules(server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """List the schedules."""
    with connect(server, token) as client:
        views = list(client.schedules())
    rows = ((v.name, v.state, v.spec["cron"], v.next[0] if v.next else None, *_last(v)) for v in views)
    emit(views, output, table(("schedule", "state", "cron", "next (UTC)", "last run", ">score"), rows))


def get(name: ScheduleName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Show a schedule: when it is due, its last runs, and its champion's score over time."""
    with connect(server, token) as client:
        view = client.schedule(name)
    emit(view, output, *_tables(view))


def update(
    name: ScheduleName,
    argument: ScheduleArgument = None,
    file: ScheduleFile = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Replace the keys that the file names; null puts a key back to its default."""
    file = chosen_file(argument, file, "file of changes")
    from pydantic import ValidationError

    from luthier.studies.documents import load_document

    try:
        changes = load_document(read_text(file))
    except ValidationError as error:
        raise CommandError(USAGE, f"{file} is wrong:", *problems(error)) from None
    except ValueError as error:
        raise CommandError(USAGE, f"{file}: {error}") from None
    if not isinstance(changes, dict):
        raise CommandError(USAGE, f"{file}: changes are a mapping of a schedule's keys to their new values.")
    _change(name, changes, server, token, output)


def pause(name: ScheduleName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Skip due times from now on."""
    _change(name, {"paused": True}, server, token, output)


def resume(name: ScheduleName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Run at due times again."""
    _change(name, {"paused": False}, server, token, output)


def _change(name: str, changes: dict[str, object], server: str | None, token: str | None, output: Format) -> None:
    with connect(server, token) as client:
        view = client.change_schedule(name, changes)
    emit(view, output, *_tables(view))


def trigger(name: ScheduleName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Run now, also on unchanged data."""
    with connect(server, token) as client:
        run = client.trigger(name)
    emit(run, output, _runs_table([run]))


def runs(name: ScheduleName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """List every due time and its outcome, newest first."""
    with connect(server, token) as client:
        views = list(client.runs(name))
    emit(views, output, _runs_table(views))


def model(name: ScheduleName, output: ModelFolder, server: Server = None, token: Token = None) -> None:
    """Download the champion: a directory for `from_pretrained`, checked against its checksum."""
    with connect(server, token) as client:
        folder = client.download_champion(name, output)
    print(folder)


def rollback(name: ScheduleName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Make the previous champion the champion again."""
    with connect(server, token) as client:
        view = client.rollback(name)
    emit(view, output, *_tables(view))


def delete(name: ScheduleName, yes: Yes = False, server: Server = None, token: Token = None) -> None:
    """Delete a schedule, its runs and its champions; the studies of its runs stay. On a terminal it asks."""
    with connect(server, token) as client:
        view = client.schedule(name)
        confirm(lambda: losses_of_schedule(view, sum(1 for _ in client.runs(name))), yes)
        client.delete_schedule(name)
    tell(f"The schedule {name} was deleted.")


def schema() -> None:
    """Print the JSON Schema of a schedule."""
    from luthier.studies.schedule import ScheduleSpec

    print_schema(ScheduleSpec)


def _tables(view: "ScheduleView") -> tuple["Table", "Table"]:
    """Return a schedule as a person reads it: its facts, and its last runs."""
    champion = view.champion
    drawn = [run.score for run in reversed(view.last_runs) if run.score is not None]
    pairs = {
        "schedule": view.name,
        "state": view.state,
        "cron": f"{view.spec['cron']} ({view.spec['timezone']})",
        "next (UTC)": ", ".join(cell(due) for due in view.next) or None,
        "champion": champion and f"trial {champion.trial} of {champion.study}, since {cell(champion.promoted_at)}",
        "none in use": view.note and cell(view.note),
        "configuration": champion and configuration(champion.params),
        "test": champion and scores(champion.test),
        "score over time": f"{sparkline(drawn)} {score(min(drawn))} to {score(max(drawn))}" if drawn else None,
    }
    return facts(pairs), _runs_table(view.last_runs)


def sparkline(values: Sequence[float]) -> str:
    """Return values as a line of bars, the lowest bar for the smallest value. There must be at least one."""
    low = min(values)
    span = (max(values) - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in values)


def _last(view: "ScheduleView") -> tuple[str | None, str]:
    """Return the outcome of a schedule's last run, and the last score."""
    last_score = next((run.score for run in view.last_runs if run.score is not None), None)
    return (_outcome(view.last_runs[0]) if view.last_runs else None), score(last_score)


def _outcome(run: "RunView") -> str:
    if run.reason is not None:
        return f"{run.state.value}: {run.reason.value}"
    return run.outcome.value if run.outcome else run.state.value


def _runs_table(views: Sequence["RunView"]) -> "Table":
    rows = ((run.id, run.due_at, _outcome(run), score(run.score), run.study, run.message) for run in views)
    return table((">run", "due (UTC)", "outcome", ">score", "study", "why"), rows)
