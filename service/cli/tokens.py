"""The commands `luthier token ...` and `luthier audit`: who may use a service, and who did what; for admins.

The docstring of a command is its help text.
"""

import re
import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.service.cli.confirm import Yes, confirm
from luthier.service.cli.connect import USAGE, CommandError, Server, Token, connect, tell
from luthier.service.cli.examples import add
from luthier.service.cli.output import Format, Output, emit, table

if TYPE_CHECKING:
    from luthier.service.client import Client
    from luthier.service.schemas import TokenView

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LASTING = re.compile(r"(\d{1,6})([mhdw])")
token_group = typer.Typer(no_args_is_help=True, help="Tokens of the people and programs that share a service.")


class ScopeChoice(StrEnum):
    """What a token may do; write includes read, admin includes both."""

    READ = "read"
    WRITE = "write"
    WORKER = "worker"
    ADMIN = "admin"


class StateChoice(StrEnum):
    """Whether a token opens anything."""

    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


Scopes = Annotated[
    list[ScopeChoice],
    typer.Option("--scope", "-s", help="What it may do; repeated for several. write includes read, admin both."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command, name in ((create, "create"), (list_tokens, "list"), (revoke, "revoke")):
        add(token_group, command, name, group="token ")
    app.add_typer(token_group, name="token", rich_help_panel="People on a service")
    add(app, audit, "audit", "People on a service")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of its person or program.")],
    scopes: Scopes,
    project: Annotated[str | None, typer.Option("--project", help="The project that it works in.")] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="WHEN", help="30d, 12h, or 2027-01-31T12:00:00Z; else never.")
    ] = None,
    max_parallel: Annotated[
        int | None, typer.Option("--max-parallel", help="Trials that may run at once, of all studies of this name.")
    ] = None,
    max_gpu_seconds: Annotated[
        float | None, typer.Option("--max-gpu-seconds", help="GPU seconds that these studies may use together.")
    ] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a token, and print its secret, alone on stdout: it cannot be shown again."""
    end = None if expires is None else _instant(expires)
    with connect(server, token) as client:
        words = [scope.value for scope in scopes]
        view = client.create_token(name, words, project, end, max_parallel, max_gpu_seconds)
    if output is not Format.TABLE:
        emit(view, output)
        return
    until = f" until {view.expires_at:%Y-%m-%d %H:%M} UTC" if view.expires_at else ""
    tell(f"The token {view.name} may {', '.join(view.scopes)} in the project {view.project}{until}. Its secret:")
    print(view.secret)
    if sys.stdout.isatty():
        tell("Keep it now: it is stored nowhere. Its user sets LUTHIER_TOKEN to it, or logs in with it.")


def list_tokens(
    state: Annotated[StateChoice | None, typer.Option("--state", help="Only tokens in this state.")] = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """List the tokens of all projects, without their secrets."""
    with connect(server, token) as client:
        views = list(client.tokens(state.value if state else None))
    columns = (">id", "name", "scopes", "project", "state", "created (UTC)", "expires (UTC)", "last used (UTC)")
    rows = (
        (v.id, v.name, ", ".join(v.scopes), v.project, v.state, v.created_at, v.expires_at, v.last_used_at)
        for v in views
    )
    emit(views, output, table(columns, rows))


def revoke(
    token_name: Annotated[str, typer.Argument(metavar="NAME", help="The token's name, or its id.")],
    yes: Yes = False,
    server: Server = None,
    token: Token = None,
) -> None:
    """Have a token open nothing any more. On a terminal it asks."""
    with connect(server, token) as client:
        view = _found(client, token_name)
        confirm(lambda: f"The token {view.name} ({', '.join(view.scopes)}) of {view.project} ends for good.", yes)
        client.revoke_token(view.id)
    tell(f"The token {view.name} (id {view.id}) was revoked.")


def audit(
    caller: Annotated[str | None, typer.Option("--caller", help="Only what the token of this name did.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="Only what was about this project.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Entries at most.")] = 100,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Show who did what, newest first: requests that changed something, and those that were refused."""
    with connect(server, token) as client:
        entries = list(islice(client.audit(caller, project), limit))
    columns = ("time (UTC)", "caller", "project", "action", "subject", ">status", "address")
    rows = ((e.at, e.caller, e.project, e.action, e.subject, e.status, e.address) for e in entries)
    emit(entries, output, table(columns, rows))


def _instant(text: str) -> datetime:
    """Return when a token ends. Raises CommandError."""
    match = LASTING.fullmatch(text.strip())
    try:
        if match is not None:
            return datetime.now(UTC) + timedelta(**{UNITS[match[2]]: int(match[1])})
        end = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        cure = "give 90m, 12h, 30d, 4w, or a time as 2027-01-31T12:00:00Z."
        raise CommandError(USAGE, f"--expires {text}: {cure}") from None
    return end if end.tzinfo is not None else end.astimezone()


def _found(client: "Client", name: str) -> "TokenView":
    """Return the live token of a name, or the one of an id. Raises CommandError."""
    views = list(client.tokens())
    named = [view for view in views if view.name == name and view.state == "live"]
    found = named or [view for view in views if str(view.id) == name]
    if not found:
        raise CommandError(USAGE, f"There is no live token {name}; `luthier token list` shows all.")
    return found[0]
