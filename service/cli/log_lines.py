"""The lines of a trial's log: the last ones, and those that come while it is followed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from luthier.service.cli.connect import FAILURE, CommandError
from luthier.service.schemas.events import LogEvent, ResetEvent, StudyGone
from luthier.studies.protocol import FINISHED

if TYPE_CHECKING:
    from luthier.service.client import Client


def tail(text: str, lines: int | None) -> str:
    """Return the last lines of a text; all of it for None."""
    if lines is None:
        return text
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""


def followed(client: "Client", name: str, number: int, lines: int | None) -> Iterator[str]:
    """Yield a trial's log, then what is added to it, until the trial has ended.

    The stream is opened first and the log read second: what comes in between is in both, and its bytes say so.

    Args:
        client: A client of the study's service.
        name: The study's name.
        number: The trial's number.
        lines: How many of the lines that are there already; None for all.

    Raises:
        CommandError: The service is older than its events.
        ServiceError: The service refused, or has been away for a minute.
    """
    from luthier.service.client import ServiceError

    client.trial(name, number)
    read: int | None = None  # bytes
    try:
        for event in client.events(name, kinds=("study", "log"), trial=number):
            data = event.data
            if read is None or isinstance(data, ResetEvent):
                is_over = client.trial(name, number).state in FINISHED
                text = client.logs(name, number)
                yield tail(text, lines) if read is None else text.encode()[read:].decode(errors="replace")
                read = len(text.encode())
                if is_over:
                    return
            if isinstance(data, LogEvent) and data.end > read:
                yield data.text.encode()[max(read - data.offset, 0) :].decode(errors="replace")
                read = data.end
            if isinstance(data, StudyGone) or (isinstance(data, LogEvent) and data.last):
                return
    except ServiceError as error:
        if error.status == 404 and read is None:
            raise CommandError(FAILURE, "This service is older than `--follow`; leave it out.") from None
        raise
