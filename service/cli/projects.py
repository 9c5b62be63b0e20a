"""The commands `luthier project ...`: projects of people who share a service, their shares and limits.

The docstring of a command is its help text.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.completion import project_names
from luthier.service.cli.confirm import Yes, confirm
from luthier.service.cli.connect import USAGE, CommandError, Server, Token, connect, problems, tell
from luthier.service.cli.examples import add
from luthier.service.cli.output import Format, Output, emit, facts, table

if TYPE_CHECKING:
    from luthier.service.schemas import ProjectView

ProjectName = Annotated[str, typer.Argument(metavar="NAME", help="The project's name.", autocompletion=project_names)]
project = typer.Typer(no_args_is_help=True, help="Projects of people who share a service.")


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    for name, command in (("set", set_project), ("list", list_projects), ("get", get), ("delete", delete)):
        add(project, command, name, group="project ")
    app.add_typer(project, name="project", rich_help_panel="People who share a service")


def set_project(
    name: ProjectName,
    weight: Annotated[float, typer.Option(help="Its share of the fleet, beside projects of its priority.")] = 1.0,
    priority: Annotated[int, typer.Option(help="A project of a higher one goes first.")] = 0,
    max_parallel: Annotated[
        int | None, typer.Option(metavar="N", help="Trials that may run at once; else any.")
    ] = None,
    max_gpu_seconds: Annotated[
        float | None, typer.Option(metavar="S", help="GPU seconds that it may use; else any.")
    ] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Create a project, or change one: an option that is left out gets its default. An admin may."""
    from pydantic import ValidationError

    try:
        with connect(server, token) as client:
            view = client.set_project(name, weight, priority, max_parallel, max_gpu_seconds)
    except ValidationError as error:
        raise CommandError(USAGE, *problems(error)) from None
    _show(view, output)


def list_projects(server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """List the projects that the token may see."""
    with connect(server, token) as client:
        views = list(client.projects())
    rows = (
        (v.name, v.weight, v.priority, _limit(v.max_parallel), v.studies, v.running_trials, _used(v)) for v in views
    )
    columns = ("project", ">weight", ">priority", ">at once", ">studies", ">running", ">GPU seconds")
    emit(views, output, table(columns, rows))


def get(name: ProjectName, server: Server = None, token: Token = None, output: Output = Format.TABLE) -> None:
    """Show a project: its share and limits, what it holds, and what it has used."""
    with connect(server, token) as client:
        view = client.project(name)
    _show(view, output)


def delete(name: ProjectName, yes: Yes = False, server: Server = None, token: Token = None) -> None:
    """Delete a project without studies, schedules, data sets and valid tokens. On a terminal it asks. An admin may."""
    with connect(server, token) as client:
        view = client.project(name)
        confirm(lambda: f"The project {view.name} goes, with its share and limits.", yes)
        client.delete_project(name)
    tell(f"The project {name} was deleted.")


def _show(view: "ProjectView", output: Format) -> None:
    pairs = {
        "project": view.name,
        "created (UTC)": view.created_at,
        "weight": view.weight,
        "priority": view.priority,
        "trials at once": f"{view.running_trials} of {_limit(view.max_parallel)}",
        "GPU seconds": _used(view),
        "studies": view.studies,
        "schedules": view.schedules,
        "data sets": view.datasets,
    }
    emit(view, output, facts(pairs))


def _limit(value: float | None) -> str:
    return "any" if value is None else f"{value:,g}"


def _used(view: "ProjectView") -> str:
    used = f"{view.gpu_seconds:,.0f}"
    return used if view.max_gpu_seconds is None else f"{used} of {view.max_gpu_seconds:,.0f}"
