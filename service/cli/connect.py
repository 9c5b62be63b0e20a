"""Functions that all commands share: connection options, reading of files, exit codes, error texts.

Every file of `service/cli/` calls it. It imports slow libraries only where they are used, and never torch.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.service.cli.completion import study_names
from luthier.service.cli.controls import clean
from luthier.service.cli.project_option import given_project

if TYPE_CHECKING:
    from pydantic import ValidationError

    from luthier.service.client import Client
    from luthier.service.settings import Settings
    from luthier.studies.spec import StudySpec

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
DEFAULT_SERVER = "http://127.0.0.1:8000"  # as the client has it, which is imported later

SpecArgument = Annotated[
    Path | None, typer.Argument(metavar="SPEC", show_default=False, help="The study, as YAML or JSON; - for stdin.")
]
SpecFile = Annotated[Path | None, typer.Option("--file", "-f", metavar="SPEC", help="The same as SPEC.")]
Server = Annotated[
    str | None,
    typer.Option("--server", envvar="LUTHIER_SERVER", metavar="URL", help=f"The service; else {DEFAULT_SERVER}."),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="LUTHIER_TOKEN", metavar="TOKEN", help="The service's token."),
]
ModelFolder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the model's directory goes.")]
StudyName = Annotated[str, typer.Argument(metavar="NAME", help="The study's name.", autocompletion=study_names)]


class CommandError(Exception):
    """Ends a command.

    Attributes:
        code: The exit code.
        lines: Sentences for stderr.
    """

    def __init__(self, code: int, *lines: str) -> None:
        """Set the exit code and the sentences for stderr."""
        super().__init__(" ".join(lines))
        self.code, self.lines = code, lines


@contextmanager
def connect(server: str | None, token: str | None) -> Iterator["Client"]:
    """Open a client of the service and the project that the options name, and close it.

    Args:
        server: URL of the service; None for DEFAULT_SERVER.
        token: The service's token; None or empty for none.
    """
    from luthier.service.client import Client

    with Client(server or DEFAULT_SERVER, token or None, project=given_project()) as client:
        yield client


def chosen_file(argument: Path | None, option: Path | None, what: str = "spec") -> Path:
    """Return the file that a command was given, as its argument or with -f. Raises CommandError for none, or two."""
    if argument is not None and option is not None and argument != option:
        raise CommandError(USAGE, f"Two {what}s were given, {argument} and {option}: give one.")
    file = argument or option
    if file is None:
        raise CommandError(USAGE, f"Name the {what}'s file, or - for stdin.")
    return file


def read_text(path: Path) -> str:
    """Return the text of a file, or of stdin for `-`. Raises CommandError where it cannot be read."""
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return content.decode(json.detect_encoding(content))  # as YAML and JSON allow: UTF-8, UTF-16 or UTF-32
    except FileNotFoundError:
        raise CommandError(USAGE, f"{path} does not exist.") from None
    except UnicodeDecodeError as error:
        raise CommandError(USAGE, f"{path} is not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise CommandError(USAGE, f"{path} cannot be read: {error.strerror}.") from None


def read_spec(path: Path) -> tuple[str, "StudySpec"]:
    """Return the spec in a file (`-` for stdin), as text and validated.

    Raises:
        CommandError: The file cannot be read, or the spec is wrong; a line for each problem.
    """
    from pydantic import ValidationError

    from luthier.studies.spec import parse_spec

    text = read_text(path)
    try:
        return text, parse_spec(text)
    except ValidationError as error:
        raise CommandError(USAGE, f"{path} is not a valid spec:", *problems(error)) from None
    except ValueError as error:
        raise CommandError(USAGE, f"{path}: {error}") from None


def load_settings(**given: Any) -> "Settings":
    """Return the settings of the environment, with the given options in their place.

    Args:
        given: Setting -> value; None leaves the setting to the environment.

    Raises:
        CommandError: A setting is wrong; a line for each problem.
    """
    from pydantic import ValidationError

    from luthier.service.schemas import faults_of
    from luthier.service.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        lines = (f"LUTHIER_{fault.path.upper()}: {fault.message}" for fault in faults_of(error.errors()))
        raise CommandError(USAGE, "The settings are wrong:", *lines) from None


@contextmanager
def starting() -> Iterator[None]:
    """Turn the refusal of a service to start in this process into an error of the command. Raises CommandError."""
    from luthier.service.errors import RefusedToStart
    from luthier.service.server.home import HomeServed
    from luthier.service.storage.migrations import NewerSchema

    try:
        yield
    except HomeServed as error:
        raise CommandError(FAILURE, str(error)) from None
    except (RefusedToStart, NewerSchema) as error:
        raise CommandError(USAGE, str(error)) from None


def problems(error: "ValidationError") -> Iterable[str]:
    """Return `path: message` for each problem."""
    from luthier.service.schemas import faults_of

    return map(str, faults_of(error.errors()))


def tell(*lines: str) -> None:
    """Print sentences to stderr."""
    for line in lines:
        print(clean(line) if sys.stderr.isatty() else line, file=sys.stderr, flush=True)


def explain(error: Exception) -> tuple[int, list[str]]:
    """Return the exit code for an error that ended a command, and the sentences for stderr."""
    if isinstance(error, CommandError):
        return error.code, list(error.lines)
    from luthier.errors import LuthierError
    from luthier.service.client import BadTrials, Blocked, ServiceError, Unreachable
    from luthier.service.download import DownloadError

    if isinstance(error, Blocked):
        return FAILURE, [str(error)]
    if isinstance(error, Unreachable):
        return FAILURE, [str(error), "Start one with `luthier serve`, or name another with --server or LUTHIER_SERVER."]
    if isinstance(error, ServiceError):
        code = USAGE if error.status in (400, 413, 415, 422) else FAILURE
        return code, [str(fault) for fault in error.errors] or [str(error)]
    if isinstance(error, BadTrials):
        return USAGE, [str(error)]
    if isinstance(error, DownloadError):
        return FAILURE, [str(error)]
    if isinstance(error, LuthierError):  # of a back-up
        return USAGE, [str(error)]
    if isinstance(error, FileExistsError) and error.errno is None:
        return USAGE, [str(error)]
    if isinstance(error, FileNotFoundError) and error.filename:
        return USAGE, [f"{error.filename} does not exist."]
    if isinstance(error, OSError):
        return FAILURE, [f"{error.filename}: {error.strerror}." if error.filename else f"{error}."]
    return FAILURE, [f"An error of Luthier itself ({type(error).__name__}: {error}); LUTHIER_DEBUG=1 shows where."]
