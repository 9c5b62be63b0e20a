"""Events as a client follows them: parsed, and gone on with where a stream breaks.

`Client.events` and `AsyncClient.events` read the bytes; what they mean, and whether to come again, is decided here.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from luthier.service.client.errors import ServiceError, Unreachable
from luthier.service.client.rows import texts
from luthier.service.client.trials import study_path
from luthier.service.schemas import StudyView
from luthier.service.schemas.events import LogEvent, ReportEvent, ResetEvent, StudyGone, TrialEvent, TrialGone
from luthier.studies.protocol import ENDED

log = logging.getLogger(__name__)

AWAY_SECONDS = 60.0  # a service that restarts is waited for
SILENT_SECONDS = 40.0  # the service sends a sign of life every 15 s
MODELS: Mapping[str, tuple[type[BaseModel], ...]] = {
    "study": (StudyGone, StudyView),
    "trial": (TrialGone, TrialEvent),
    "report": (ReportEvent,),
    "log": (LogEvent,),
    "reset": (ResetEvent,),
}

Data = StudyView | StudyGone | TrialEvent | TrialGone | ReportEvent | LogEvent | ResetEvent


@dataclass(frozen=True)
class Event:
    """An event of a service.

    Attributes:
        kind: `study`, `trial`, `report`, `log`, or `reset` where events were missed.
        id: what `last_event_id` takes to go on after it.
        data: what has changed, as it is now.
    """

    kind: str
    id: str
    data: Data


class Following:
    """A client's way through the events, over as many streams as it takes.

    Attributes:
        path: the route.
        pause_seconds: how long to wait before coming again.
    """

    def __init__(self, name: str | None, last_event_id: str | None, kinds: Sequence[str], trial: int | None) -> None:
        """Begin; the arguments are those of `Client.events`."""
        self.path = "/v1/events" if name is None else study_path(name, "events")
        self.pause_seconds = 1.0
        self._query: dict[str, Any] = {"kind": texts(kinds)} | ({} if trial is None else {"trial": trial})
        self._name = name
        self._id = "" if last_event_id is None else last_event_id
        self._heard = time.monotonic()
        self._rest = b""
        self._told = ""  # why a stream was refused
        self._ended = False  # the study has
        self._logs: set[int] = set()  # trials whose logs go on
        self._wants_logs = not kinds or "log" in kinds
        self.is_over = False

    def options(self) -> dict[str, Any]:
        """Return httpx's options of the next request."""
        self._rest = b""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": self._id} if self._id else {})
        return {"params": self._query, "headers": headers, "timeout": httpx.Timeout(SILENT_SECONDS)}

    def read(self, part: bytes) -> Iterator[Event]:
        """Yield the events that are complete with the next bytes of a stream, until the study has ended."""
        self._heard = time.monotonic()
        *blocks, self._rest = (self._rest + part).replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            event = self._event(block.decode(errors="replace"))
            if event is not None:
                yield event
                self._note(event)
            elif self._ended and self._name is not None:
                self.is_over = True  # a sign of life: nothing is left to say
            if self.is_over:
                return

    def excuse(self, error: ServiceError) -> None:
        """Accept that a stream broke, as while a service restarts. Raises `error` where waiting does not help."""
        is_away = isinstance(error, Unreachable) or error.status in (429, 503)
        if not is_away or time.monotonic() - self._heard > AWAY_SECONDS:
            raise error
        if not isinstance(error, Unreachable) and self._told != str(error):
            self._told = str(error)
            log.warning("%s It asks again.", error)

    def _event(self, block: str) -> Event | None:
        """Return the event of a block of lines; None where it has no data, or is of a kind that came later."""
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[key] = f"{fields[key]}\n{value}" if key == "data" and key in fields else value
        self._id = fields.get("id", self._id)
        if fields.get("retry", "").isdigit():
            self.pause_seconds = int(fields["retry"]) / 1000
        kind, data = fields.get("event", ""), fields.get("data")
        if data is None:
            return None
        for model in MODELS.get(kind, ()):
            try:
                return Event(kind, self._id, model.model_validate_json(data))  # type: ignore[arg-type]
            except ValidationError:
                continue
        return None

    def _note(self, event: Event) -> None:
        """Note whether anything is left to come: the study goes on, or the last lines of a log are on their way."""
        data = event.data
        if isinstance(data, TrialEvent) and data.attempt:
            self._logs.add(data.number)
        elif isinstance(data, LogEvent):
            (self._logs.discard if data.last else self._logs.add)(data.number)
        elif isinstance(data, StudyView):
            self._ended = data.state in ENDED
        elif isinstance(data, StudyGone) and self._name is not None:
            self.is_over = True
        if self._ended and self._name is not None and not (self._wants_logs and self._logs):
            self.is_over = True
