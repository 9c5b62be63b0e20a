"""What every command shares: the options that name the service, the exit codes, and how errors are told."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import ValidationError

    from luthier.service.client import Client
    from luthier.service.settings import Settings
    from luthier.studies.spec import StudySpec

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
DEFAULT_SERVER = "http://127.0.0.1:8000"

SpecFile = Annotated[
    Path, typer.Option("--file", "-f", metavar="SPEC", help="The study, as YAML or JSON; - for stdin.")
]
Server = Annotated[
    str | None,
    typer.Option("--server", envvar="LUTHIER_SERVER", metavar="URL", help=f"The service; else {DEFAULT_SERVER}."),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="LUTHIER_TOKEN", metavar="TOKEN", help="The service's token."),
]
StudyName = Annotated[str, typer.Argument(metavar="NAME", help="The study's name.")]


class CommandError(Exception):
    """A command ends with `code`; each of `lines` is a sentence for stderr."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__(" ".join(lines))
        self.code, self.lines = code, lines


@contextmanager
def connect(server: str | None, token: str | None) -> Iterator["Client"]:
    """A client of the service the options name."""
    from luthier.service.client import Client

    with Client(server or DEFAULT_SERVER, token or None) as client:
        yield client


def read_text(path: Path) -> str:
    """The document at `path`, `-` for stdin. Raises CommandError."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CommandError(USAGE, f"{path} does not exist.") from None
    except UnicodeDecodeError as error:
        raise CommandError(USAGE, f"{path} is not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise CommandError(USAGE, f"{path} cannot be read: {error.strerror}.") from None


def read_spec(path: Path) -> tuple[str, "StudySpec"]:
    """The spec at `path`, as text and validated. Raises CommandError with one line for each problem."""
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
    """Settings from the environment, under the options that were given. Raises CommandError."""
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
    """Around a service in this process: what it refuses to start with is a usage error."""
    from luthier.service.errors import RefusedToStart
    from luthier.service.storage.migrations import NewerSchema

    try:
        yield
    except (RefusedToStart, NewerSchema) as error:
        raise CommandError(USAGE, str(error)) from None


def problems(error: "ValidationError") -> Iterable[str]:
    """`path: message` for each problem."""
    from luthier.service.schemas import faults_of

    return map(str, faults_of(error.errors()))


def tell(*lines: str) -> None:
    """Sentences to stderr."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def explain(error: Exception) -> tuple[int, list[str]]:
    """The exit code of an error that ended a command, and the sentences for stderr."""
    from luthier.service.client import ServiceError, Unreachable
    from luthier.service.download import DownloadError

    if isinstance(error, CommandError):
        return error.code, list(error.lines)
    if isinstance(error, Unreachable):
        return FAILURE, [str(error), "Start one with `luthier serve`, or name another with --server or LUTHIER_SERVER."]
    if isinstance(error, ServiceError):
        code = USAGE if error.status in (400, 413, 422) else FAILURE
        return code, [str(fault) for fault in error.errors] or [str(error)]
    if isinstance(error, DownloadError):
        return FAILURE, [str(error)]
    if isinstance(error, FileExistsError) and error.errno is None:
        return USAGE, [str(error)]
    if isinstance(error, OSError):
        return FAILURE, [f"{error.filename}: {error.strerror}." if error.filename else f"{error}."]
    return FAILURE, [f"An error of Luthier itself ({type(error).__name__}: {error}); LUTHIER_DEBUG=1 shows where."]
