"""The feed of events: one look for all streams of this service.

While anybody listens, a task looks for new changes and for logs that have grown: at intervals, when a route has changed
something, and in a thread of its own. Its latest events are kept for all streams, within a limit. A stream that is
further behind reads the database itself, page by page. So a stream costs a place in memory, and its reader's pace
concerns nobody else.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import NamedTuple, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError

from luthier.service.api.event_views import Event, events
from luthier.service.api.notifier import Notifier
from luthier.service.dispatch.core import Core
from luthier.service.errors import TooMany, Unavailable
from luthier.service.storage.change_log import ChangeLog

log = logging.getLogger("luthier")
THREADS = 3  # that read for those who begin, or are behind
PAGE = 500  # changes that are read at once
KEPT_CHARACTERS = 4_000_000  # of events in memory
FULL = (
    "All {} event streams of this service are in use (LUTHIER_MAX_STREAMS): close one that nobody reads, or try again."
)
FULL_OF_CLIENT = (
    "This client has {} event streams open already (LUTHIER_MAX_STREAMS_PER_CLIENT): close one that nobody reads. One "
    "stream of /v1/events has the events of all studies."
)

T = TypeVar("T")
Log = tuple[int, int]  # the ids of study and assignment


class Page(NamedTuple):
    """Successive events: all those after one change and up to another, perhaps of one study only."""

    after: int
    until: int
    events: list[Event]


class Lost(Exception):
    """Changes that a stream has not seen are not there any more."""


class Feed:
    """The events of all studies, for the streams of one service. Call it on the service's event loop."""

    def __init__(
        self,
        core: Core,
        notifier: Notifier,
        log: ChangeLog,
        look_seconds: float,
        stream_seconds: float,
        most_streams: int,
        most_of_client: int,
    ) -> None:
        """Begin with nobody listening.

        Args:
            core: the service's parts.
            notifier: tells of this service's own changes, and of its end.
            log: the changes.
            look_seconds: between looks for those of other services, and for logs.
            stream_seconds: how long a stream lasts; its client then comes again, and presents its token again.
            most_streams: how many there may be at the same time.
            most_of_client: likewise, of one client.
        """
        self.core, self.log, self.stream_seconds = core, log, stream_seconds
        self._notifier, self._look_seconds, self._most_streams = notifier, look_seconds, most_streams
        self._threads = anyio.CapacityLimiter(THREADS)
        self._thread = anyio.CapacityLimiter(1)  # of the look for all, which waits for nobody who is behind
        self._most_of_client = most_of_client
        self._streams = 0
        self._of_client: Counter[str] = Counter()  # streams of each client that has any
        self._logs: Counter[Log] = Counter()  # those that streams follow
        self._pages: deque[Page] = deque()  # without a gap, up to `position`
        self._characters = 0
        self._again = asyncio.Event()
        self._one = asyncio.Lock()  # of a look
        self._task: asyncio.Task[None] | None = None
        self.news = asyncio.Event()  # set, and replaced, when there is something new
        self.log_sizes: dict[Log, int] = {}  # in bytes
        self.position = 0  # the change up to which the feed knows all

    @property
    def closed(self) -> bool:
        """Whether the service stops."""
        return self._notifier.closed

    @contextmanager
    def joined(self, client: str) -> Iterator[None]:
        """Count one more stream of a client, until the block ends.

        Raises:
            TooMany: the client has as many as it may.
            Unavailable: there are as many as may be, of all clients.
        """
        if self._of_client[client] >= self._most_of_client:
            raise TooMany(FULL_OF_CLIENT.format(self._most_of_client), retry_after=5)
        if self._streams >= self._most_streams:
            raise Unavailable(FULL.format(self._most_streams), retry_after=5)
        self._streams += 1
        self._of_client[client] += 1
        try:
            if self._task is None:
                self._task = asyncio.create_task(self._watch(), context=Context())  # on no caller's behalf
            yield
        finally:
            self._streams -= 1
            self._of_client[client] -= 1
            self._of_client += Counter()  # without those that have none
            if not self._streams:
                self._again.set()

    def follow(self, log: Log) -> None:
        """Look for the size of a log from now on, until as many have called `leave`."""
        self._logs[log] += 1

    def leave(self, log: Log) -> None:
        """End one `follow`."""
        self._logs[log] -= 1
        if not self._logs[log]:
            del self._logs[log]
            self.log_sizes.pop(log, None)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run what reads the database or the store in one of the feed's few threads."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def page(self, after: int, study_id: int | None) -> Page:
        """Return the next events after a change, as far as `position`; from memory, unless they are older.

        Events of other studies may be among them. Raises Lost where some of them are not there any more.
        """
        if after >= self.position:
            return Page(after, after, [])
        if self._pages and after >= self._pages[0].after:
            for page in self._pages:
                if page.until > after:
                    return page
        until = self.position
        return await self.in_thread(lambda: self._read(after, until, study_id, checked=True))

    async def ended(self, seconds: float) -> None:
        """Return once the look for all has ended, after `Notifier.close`; after so many seconds in any case."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)

    async def caught_up(self) -> int:
        """Return the position of a look that begins now."""
        await self._look()
        return self.position

    def _read(self, after: int, until: int, study_id: int | None = None, checked: bool = False) -> Page:
        """Read one page of events from the database. Raises Lost, if that is checked."""
        with self.core.database.snapshot() as session:
            if checked and self.log.may_lack(session, after):
                raise Lost
            changes = self.log.read(session, after, until, PAGE, study_id)
            made = events(session, changes, self.core.room.latest)
        return Page(after, changes[-1].id if len(changes) == PAGE else max(after, until), made)

    async def _watch(self) -> None:
        """Look again and again while there are streams."""
        with self._notifier.listening(self._hear):
            while self._streams and not self.closed:
                self._again.clear()
                try:
                    await self._look()
                except SQLAlchemyError as error:  # streams wait
                    log.debug("events: the database could not be reached: %s", type(error).__name__)
                except Exception:
                    log.exception("the look for new events failed; the next one tries again")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._again.wait(), self._look_seconds)
        self._task = None
        self._pages.clear()
        self._characters = self.position = 0  # the next look begins where the log is then
        self._tell()

    def _hear(self) -> None:
        """Look again, as something has changed; or end all streams, also while a look hangs, as the service stops."""
        self._again.set()
        if self.closed:
            self._tell()

    async def _look(self) -> None:
        """Read what is new, once for all, and wake the streams if anything is."""
        async with self._one:
            logs = list(self._logs)
            before = self.position

            def look() -> tuple[Page | None, dict[Log, int]]:
                settled = self.log.settle()
                page = self._read(before, settled) if before and settled > before else None
                return page, {log: self.core.store.log_size(*log) for log in logs}

            page, sizes = await anyio.to_thread.run_sync(look, limiter=self._thread)
            if page is None:
                self.position = max(self.position, self.log.settled)
            else:
                self._keep(page)
                if page.until < self.log.settled:
                    self._again.set()
            grown = {log: size for log, size in sizes.items() if log in self._logs and size != self.log_sizes.get(log)}
            self.log_sizes |= grown
            if grown or self.position != before:
                self._tell()

    def _keep(self, page: Page) -> None:
        """Keep a page that continues the others, and forget old ones beyond the limit."""
        self.position = page.until
        self._pages.append(page)
        self._characters += sum(len(event.data) for event in page.events)
        while self._characters > KEPT_CHARACTERS or len(self._pages) > PAGE:
            self._characters -= sum(len(event.data) for event in self._pages.popleft().events)

    def _tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()
