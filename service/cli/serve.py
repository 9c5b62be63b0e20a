"""The commands that start long-running processes: `luthier serve`, `worker` and `workers`.

The docstring of a command is its help text. `workers` must load neither the database nor Optuna.
"""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from luthier.service.cli.connect import DEFAULT_SERVER, Server, load_settings, starting
from luthier.service.cli.examples import add
from luthier.service.cli.signals import end_at_once

PANEL = "Processes that stay"


class Fleet(StrEnum):
    """The source of a service's workers: this machine, or others."""

    LOCAL = "local"
    NONE = "none"


class _ServeCommand(TyperCommand):
    """The command `serve`, whose help ends with a table of all settings."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help and the settings; they are imported only here."""
        super().format_help(ctx, formatter)
        from luthier.service.cli.output import show

        show(_settings_table())


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    others = {"allow_extra_args": True, "ignore_unknown_options": True}
    add(app, serve, "serve", PANEL, cls=_ServeCommand)
    add(app, worker, "worker", PANEL, context_settings=others)
    add(app, workers, "workers", PANEL)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; anything but loopback needs a token.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    fleet: Annotated[Fleet | None, typer.Option(help="local: workers on this machine; none: only others.")] = None,
) -> None:
    """Serve the REST interface, the pages, and a fleet of workers.

    Each option is a setting, too; settings come from the environment:
    """
    end_at_once()
    settings = load_settings(host=host, port=port, fleet=fleet.value if fleet else None)
    from luthier.service.server.serve import serve as serve_forever

    with starting():
        serve_forever(settings)


def worker(ctx: typer.Context, server: Server = None) -> None:
    """Work for a service: claim trials, fine-tune, report. Its token comes from LUTHIER_WORKER_TOKEN.

    Other options go to the worker as they are; `luthier worker -- --help` lists them.
    """
    # Becomes the worker's own process: signals reach it directly, and nothing of this one stays in memory.
    command = [sys.executable, "-P", "-m", "luthier.trials", "--server", server or DEFAULT_SERVER, *ctx.args]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, no shell


def workers(
    server: Server = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Work on the CPU: LUTHIER_CPU_WORKERS processes.")] = False,
    alive: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Touched every few seconds while workers stay up.")
    ] = None,
) -> None:
    """Keep workers for a service elsewhere running: LUTHIER_WORKERS_PER_GPU on each GPU, and none without a GPU.

    Their token, and other settings, are those of `luthier serve --help`.
    """
    end_at_once()
    settings = load_settings()
    from luthier.service.fleet.keeper import run_fleet

    run_fleet(settings, server or DEFAULT_SERVER, cpu=cpu, alive=alive)


def _settings_table() -> Any:
    from pydantic import SecretStr
    from pydantic_core import PydanticUndefined

    from luthier.service.cli.output import table
    from luthier.service.limit_settings import LimitSettings
    from luthier.service.settings import Settings

    rows = []
    limits = LimitSettings.model_fields
    for name, field in sorted(Settings.model_fields.items(), key=lambda item: item[0] in limits):  # limits come last
        default = field.get_default(call_default_factory=True)
        is_unset = default is None or default is PydanticUndefined or isinstance(default, SecretStr)
        rows.append((f"LUTHIER_{name.upper()}", "" if is_unset else str(default), field.description or ""))
    return table(("setting", "default", "meaning"), rows)
