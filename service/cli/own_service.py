"""The service that `luthier run` and `luthier plan` work with.

It is the one that serves this home, if there is one, and else one that is embedded in the command's process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.service.cli.connect import FAILURE, CommandError, starting, tell
from luthier.service.cli.project_option import given_project
from luthier.service.cli.signals import terminated_is_interrupted
from luthier.service.cli.stages import Waiting

if TYPE_CHECKING:
    from luthier.service.client import Client
    from luthier.service.server.embedded import Embedded
    from luthier.service.server.home import Holder
    from luthier.service.settings import Settings


@dataclass(frozen=True)
class OwnService:
    """A service that answers.

    Attributes:
        client: a client of it.
        embedded: the service, where it runs in this process.
    """

    client: "Client"
    embedded: "Embedded | None"

    @property
    def problem(self) -> str | None:
        """A sentence once no worker of this process stays up; None otherwise."""
        return self.embedded.problem if self.embedded is not None else None


def find_holder(home: Path) -> "Holder | None":
    """Return the process that serves a home, and that can be asked from here; None if none serves it.

    Raises:
        CommandError: It runs elsewhere, or has not answered yet.
    """
    from luthier.service.server.home import holder_of

    holder = holder_of(home)
    if holder is None or (holder.url and holder.is_here):
        return holder
    cure = (
        "Give it the study with `luthier create --server URL`" if holder.url else "Try again once it has started"
    ) + ", or name another home with LUTHIER_HOME."
    raise CommandError(FAILURE, f"{home} is served by {holder}, which cannot be asked from here. {cure}")


def beginning(holder: "Holder | None") -> str:
    """Return what a command does first: start a service, or ask the one that serves the home."""
    return "the service starts" if holder is None else f"the service at {holder.url} is asked"


@contextmanager
def own_service(settings: "Settings", study: str | None, holder: "Holder | None") -> Iterator[OwnService]:
    """Yield the service of `holder`, or start one for the time of the block.

    A service of this process works in the project `default`; another one in that of --project or LUTHIER_PROJECT.

    Args:
        settings: Those of the command; the token that they name is for the service of `holder`.
        study: The study that an embedded service works on; None for plans.
        holder: The process that serves the home, if there is one.

    Raises:
        RefusedToStart: The database cannot be used.
        NewerSchema: A newer Luthier wrote the database.
    """
    from luthier.service.client import Client
    from luthier.service.server.embedded import Embedded

    if holder is None:
        with Embedded(settings, study=study) as service, Client(service.url, service.token, project="") as client:
            yield OwnService(client, service)
        return
    tell(f"{settings.home} is served by {holder}: the {'study' if study else 'plan'} goes to that service.")
    if Path(holder.folder) != Path.cwd():
        tell(f"Its workers look for relative paths in {holder.folder}.")
    with Client(holder.url, _own_token(settings), project=given_project() or None) as client:
        yield OwnService(client, None)


@contextmanager
def waited_service(settings: "Settings", study: str, holder: "Holder | None") -> Iterator[OwnService]:
    """Yield the service as `own_service` does, and say until then what it waits for. Raises CommandError."""
    with (
        terminated_is_interrupted(),
        starting(),
        Waiting(beginning(holder)) as waiting,
        own_service(settings, study, holder) as service,
    ):
        waiting.end()
        yield service


def token_of(service: OwnService, settings: "Settings") -> str | None:
    """Return the token by which other processes of the command reach its service."""
    return service.embedded.token if service.embedded is not None else _own_token(settings)


def _own_token(settings: "Settings") -> str | None:
    return settings.token.get_secret_value() if settings.token else None
