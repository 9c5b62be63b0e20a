"""The `luthier` command, a file for each noun. They are imported when the command starts."""

import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.service.cli.command import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line, and exit; Ctrl-C ends the process without a word while its modules are imported."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from luthier.service.cli import command

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    command.main()


def __getattr__(name: str) -> Any:
    """Import the application, for tests and for tools that look at its commands."""
    if name == "app":
        from luthier.service.cli import command

        return command.app
    raise AttributeError(name)
