"""One client's stream of events: from the change that its client saw last, or from now on.

An event's id is all that is needed to go on after it: the change, then for each log that is followed how far it was
sent, as `1234` or `1234;17:2048,18:512` (change; assignment:bytes, ...). What was sent is never sent again in a
stream. A stream ends with its study, with its client's token, with the service, and after a while in any case.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from fastapi.sse import ServerSentEvent
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from luthier.service.api.event_feed import Feed, Lost, Page
from luthier.service.api.event_logs import FollowedLogs
from luthier.service.api.event_views import Event, study_event
from luthier.service.errors import Invalid, NotFound
from luthier.service.lifecycle import study_rows
from luthier.service.schemas import Fault
from luthier.service.schemas.events import ResetEvent

KINDS = ("study", "trial", "report", "log")
ID = re.compile(r"(0|[1-9][0-9]{0,17})(?:;((?:[1-9][0-9]{0,17}:[0-9]{1,12}(?:,|$)){0,200}))?", re.ASCII)
RETRY_MILLISECONDS = 1_000  # until a client whose stream has ended comes again
AGAIN_SECONDS = 1.0  # until a stream reads again what it could not read
ALLOWED_SECONDS = 10.0  # at most, between two looks whether the client's token is still good
LATER = "The events after that id are not kept any more: read the studies and trials again."
FUTURE = (
    "This service has not given that id yet, as after a restore of its database: read the studies and trials again."
)


@dataclass(frozen=True)
class Position:
    """The place in the events at which a stream begins.

    Attributes:
        change: the id of the last change that was seen.
        logs: assignment -> how many bytes of its log were seen.
    """

    change: int
    logs: dict[int, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, id: str) -> "Position":
        """Return the position of an event's id. Raises Invalid for anything else."""
        match = ID.fullmatch(id.strip())
        if match is None:
            message = "must be the id of an event of this service, as 1234; leave it out to begin now"
            raise Invalid(f"Last-Event-ID {message}.", [Fault(path="last_event_id", message=message)])
        pairs = (pair.split(":") for pair in (match[2] or "").split(",") if pair)
        return cls(int(match[1]), {int(assignment): int(offset) for assignment, offset in pairs})


@dataclass(frozen=True)
class Wanted:
    """The events that a stream sends.

    Attributes:
        project: the caller's, of which alone events are sent.
        study_id: the study; None for all.
        kinds: some of KINDS.
        trial: a trial's number, whose events and log alone are sent, beside its study's; None for all.
    """

    project: str
    study_id: int | None
    kinds: frozenset[str]
    trial: int | None = None

    def has(self, event: Event) -> bool:
        """Return whether the stream sends this event."""
        is_here = self._is_here(event)
        return is_here and event.kind in self.kinds and (event.number is None or self.trial in (None, event.number))

    def log_of(self, event: Event) -> bool:
        """Return whether the stream follows the log of this event's trial."""
        is_here = self._is_here(event)
        return is_here and "log" in self.kinds and event.kind == "trial" and self.trial in (None, event.number)

    def _is_here(self, event: Event) -> bool:
        return event.project == self.project and self.study_id in (None, event.study_id)


class EventStream:
    """A stream that was opened; `sent` yields what goes to the client."""

    def __init__(
        self, feed: Feed, wanted: Wanted, position: Position | None, name: str | None, is_allowed: Callable[[], bool]
    ) -> None:
        """Begin after `position`, or now.

        Args:
            feed: the service's feed, which has this stream as a member.
            wanted: the events to send.
            position: where the client has got to; None: it begins.
            name: of the study that it is about; None for all.
            is_allowed: returns whether the client's token is still good; a thread calls it. Raises SQLAlchemyError.
        """
        self._is_allowed = is_allowed
        self._feed, self._wanted, self._given, self._name = feed, wanted, position, name
        self._cursor = 0
        self._first: list[Event] = []
        self._reset: str | None = None
        self._over = False
        self._logs = FollowedLogs(feed, wanted.project, wanted.trial)

    async def open(self) -> None:
        """Find the place to begin at, so that a stream that cannot begin is refused. Raises NotFound."""
        now = await self._feed.caught_up()
        await self._feed.in_thread(lambda: self._begin(now))

    def _begin(self, now: int) -> None:
        with self._feed.core.database.snapshot() as session:
            given = self._given
            if given is not None and given.change > max(now, self._feed.log.last_id(session)):
                self._reset = FUTURE
            elif given is not None and self._feed.log.may_lack(session, given.change):
                self._reset = LATER
            if given is None or self._reset is not None:
                self._begin_now(session, now)
                return
            self._cursor = given.change
            if "log" in self._wanted.kinds:
                self._logs.resume(session, given.logs, self._wanted.study_id)

    def _begin_now(self, session: Session, now: int) -> None:
        """Begin with the study as it is, and with the ends of the logs of trials that run."""
        self._cursor = now
        if self._name is not None and "study" in self._wanted.kinds:
            study = study_rows.find(session, self._name)
            event = study_event(session, study, now, self._feed.core.room.latest)
            self._first = [] if event is None else [event]
        if "log" in self._wanted.kinds:
            self._logs.begin(session, self._wanted.study_id)

    async def sent(self) -> AsyncIterator[ServerSentEvent]:
        """Yield what goes to the client until the stream ends."""
        looked = time.monotonic()
        until = looked + self._feed.stream_seconds
        try:
            yield ServerSentEvent(id=self._id(), retry=RETRY_MILLISECONDS)  # an id without data: the client's first
            for message in self._opening():
                yield message
            is_current = self._given is None or self._reset is not None
            while not self._over and not self._feed.closed and time.monotonic() < until:
                news, wait = self._feed.news, min(until - time.monotonic(), ALLOWED_SECONDS)
                try:
                    if looked + ALLOWED_SECONDS <= time.monotonic():
                        looked = time.monotonic()
                        if not await self._feed.in_thread(self._is_allowed):
                            return
                    async for message in self._due():
                        is_current |= message.event == "study"
                        yield message
                    if not is_current:
                        for message in await self._present():
                            yield message
                    is_current = True
                except SQLAlchemyError:  # it is away
                    wait = min(wait, AGAIN_SECONDS)
                wait = min(wait, self._logs.patience())
                if self._feed.news is news and not self._over and not self._feed.closed:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(news.wait(), max(wait, 0.0))
        finally:
            self._logs.leave_all()

    def _opening(self) -> Iterator[ServerSentEvent]:
        if self._reset is not None:
            yield self._message("reset", ResetEvent(reason=self._reset).model_dump_json())
        for event in self._first:
            yield self._message(event.kind, event.data)

    async def _due(self) -> AsyncIterator[ServerSentEvent]:
        """Yield what is known and was not sent yet: changes, then lines of logs."""
        while not self._over:
            try:
                page = await self._feed.page(self._cursor, self._wanted.study_id)
            except Lost:
                for message in await self._begin_again():
                    yield message
                continue
            if page.until == self._cursor:
                break
            for message in self._of_page(page):
                yield message
        if "log" in self._wanted.kinds:
            async for data in self._logs.due():
                yield self._message("log", data)

    def _of_page(self, page: Page) -> Iterator[ServerSentEvent]:
        for event in page.events:
            if event.id <= self._cursor:
                continue
            self._cursor = event.id
            if self._wanted.log_of(event):
                self._logs.note(event)
            if self._wanted.has(event):
                yield self._message(event.kind, event.data)
            if event.kind == "study" and event.ended and event.study_id == self._wanted.study_id:
                self._over = True
                return
        self._cursor = page.until

    async def _present(self) -> list[ServerSentEvent]:
        """Return the study as it is, for a client that came again after its last event and missed nothing since."""
        name = self._name
        if self._over or name is None or "study" not in self._wanted.kinds:
            return []

        def read() -> Event | None:
            with self._feed.core.database.snapshot() as session:
                study = study_rows.find(session, name)
                return study_event(session, study, self._cursor, self._feed.core.room.latest)

        with suppress(NotFound):  # it is deleted just now, which is an event
            event = await self._feed.in_thread(read)
            return [] if event is None else [self._message(event.kind, event.data)]
        return []

    async def _begin_again(self) -> list[ServerSentEvent]:
        """Begin now, and return what tells the client so: it was slower than changes are removed."""
        self._reset = LATER
        self._logs.leave_all()

        def begin() -> None:
            with self._feed.core.database.snapshot() as session:
                self._begin_now(session, self._feed.position)

        await self._feed.in_thread(begin)
        return list(self._opening())

    def _message(self, kind: str, data: str) -> ServerSentEvent:
        return ServerSentEvent(event=kind, raw_data=data, id=self._id())

    def _id(self) -> str:
        logs = self._logs.offsets()
        return f"{self._cursor};{logs}" if logs else str(self._cursor)
