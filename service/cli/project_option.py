"""The option `--project` of every command that talks to a service: added to each in one place, kept for its client."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from luthier.service.cli.completion import project_names

Project = Annotated[
    str | None,
    typer.Option(
        "--project",
        envvar="LUTHIER_PROJECT",
        metavar="PROJECT",
        help="The project; else the token's own.",
        autocompletion=project_names,
    ),
]
_given: list[str | None] = [None]  # by the one command of this process


def given_project() -> str:
    """Return the project that the command was given; "" for none."""
    return _given[0] or ""


def with_project(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the option, if it has those that name a service and a token, and none of its own."""
    signature = inspect.signature(command)
    if {"server", "token", "project"} & signature.parameters.keys() != {"server", "token"}:
        return command

    @wraps(command)
    def call(*args: Any, project: str | None = None, **kwargs: Any) -> None:
        _given[0] = project
        command(*args, **kwargs)

    parameters = list(signature.parameters.values())
    place = list(signature.parameters).index("token") + 1
    option = inspect.Parameter("project", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=Project)
    changed: Any = call
    changed.__signature__ = signature.replace(parameters=[*parameters[:place], option, *parameters[place:]])
    changed.__annotations__ = {**command.__annotations__, "project": Project}
    return call
