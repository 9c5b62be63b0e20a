"""The line of claims that wait for work: one look for all of them, and as many woken as there is work.

Used by the route of claims. While somebody waits, a task looks once a second, and at each `Notifier.notify`, how much
work there is, and has so many claims look for themselves: who looked longest ago comes first. A claim may find nothing
although there is work (no room on its GPU, say); then the next one looks. All of it runs on the service's event loop;
what needs the database runs in threads of its own, so that claims never take those of other requests.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError

from luthier.service.api.notifier import Notifier
from luthier.service.dispatch.claims import Claims
from luthier.service.storage.presence import AHEAD_SECONDS
from luthier.service.storage.work_queue import count_work
from luthier.studies.protocol import Assignment, Claim

log = logging.getLogger("luthier")
POLL_SECONDS = 1.0  # between looks for work that another service, the reaper or a schedule brought
LOOKS_AT_ONCE = 16  # claims that look at the same time; the others queue, so that lists are answered meanwhile
FRUITLESS_LOOKS = 50  # a second, at most: work that no GPU has room for must not keep the service busy


@dataclass(eq=False)
class Place:
    """A claim in the line.

    Attributes:
        claim: the worker's request.
        until: when its time is up, by the monotonic clock.
        looked_at: the number of the latest change that it has looked after.
        known_until: until when the database says that it waits, by the monotonic clock.
        turn: True once it is to look; False: it is to answer now.
    """

    claim: Claim
    until: float
    looked_at: int = -1
    known_until: float = 0.0
    turn: "asyncio.Future[bool]" = field(init=False)


class WaitingLine:
    """The claims that wait on one service. Call it on the service's event loop."""

    def __init__(self, claims: Claims, notifier: Notifier) -> None:
        """Begin with nobody waiting."""
        self._claims, self._notifier = claims, notifier
        self._threads = anyio.CapacityLimiter(LOOKS_AT_ONCE + 1)  # one is for the look for all
        self._free = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._line: dict[Place, None] = {}  # in order; who looks is not in it
        self._woken: dict[Place, float] = {}  # who looks because it was woken, and since when
        self._gone: set[str] = set()  # workers that hung up while they waited, to be stored
        self._again = asyncio.Event()
        self._change = 0  # counts what may let a claim find work that found none before
        self._change_without_gpu = -1  # the latest change after which a worker without a GPU found nothing
        self._idle = False  # the latest look, at most a second ago, found no work, and nothing has changed since
        self._patience = FRUITLESS_LOOKS
        self._next_tick = 0.0
        self._task: asyncio.Task[None] | None = None

    async def take(self, claim: Claim, hung_up: "asyncio.Future[None]") -> Assignment | None:
        """Return an assignment for a worker; None when there is none within its `wait_seconds`, or the service stops.

        Args:
            claim: the worker's request.
            hung_up: done once nobody listens for the answer any more.
        """
        place, found = Place(claim, time.monotonic() + claim.wait_seconds), None
        async with self._free:
            if not self._idle or not claim.wait_seconds:  # else it would find nothing, as all others do
                found = await self._look(place)
        while found is None and await self._wait_for_turn(place, hung_up):
            async with self._free:
                found = await self._look(place)
        return found

    async def ended(self, seconds: float) -> None:
        """Return once nobody waits any more, after `Notifier.close`; after so many seconds in any case."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)

    async def _look(self, place: Place) -> Assignment | None:
        """Ask for work for one claim now, unless the service stops; a thread does so."""
        found, place.looked_at = None, self._change
        try:
            if self._notifier.closed:
                return None
            found = await anyio.to_thread.run_sync(self._claims.claim, place.claim, limiter=self._threads)
        finally:
            place.known_until = time.monotonic() + POLL_SECONDS  # the claim was stored
            if self._woken.pop(place, None) is not None:
                self._again.set()
                self._patience -= found is None
        if found is not None:
            self._note_change()  # one that looked at the same moment may have wanted the same
        elif place.claim.gpu is None and place.claim.worker not in self._claims.apart:
            self._change_without_gpu = max(self._change_without_gpu, place.looked_at)
        return found

    async def _wait_for_turn(self, place: Place, hung_up: "asyncio.Future[None]") -> bool:
        """Wait at the end of the line; return True when it is the claim's turn to look, False when it is to end."""
        left = place.until - time.monotonic()
        if left <= 0 or self._notifier.closed or hung_up.done():
            return False
        place.turn, self._line[place] = asyncio.get_running_loop().create_future(), None
        self._ensure_watched()
        granted = False
        try:
            either: set[asyncio.Future[Any]] = {place.turn, hung_up}
            await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            granted = place.turn.done() and place.turn.result() and not hung_up.done()
            return granted
        finally:
            self._line.pop(place, None)
            if hung_up.done():
                self._gone.add(place.claim.worker)
                self._note_change()  # others need not leave the work to it any more
                self._ensure_watched()
            if not granted and self._woken.pop(place, None) is not None:
                self._again.set()

    def _ensure_watched(self) -> None:
        """Begin to look for all that wait, unless a task does so."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), context=Context())  # on no caller's behalf

    def _note_change(self) -> None:
        """Let all that wait look again, if there is work."""
        self._change += 1
        self._idle = False
        self._again.set()

    async def _watch(self) -> None:
        """Look for all that wait, until nobody does."""
        with self._notifier.listening(self._note_change):
            while (self._line or self._gone) and not self._notifier.closed:
                self._again.clear()
                try:
                    await self._round()
                except SQLAlchemyError as error:  # claims say so to their workers
                    self._idle = False
                    log.debug("waiting claims: the database could not be reached: %s", type(error).__name__)
                except Exception:
                    self._idle = False
                    log.exception("the look for waiting claims failed; the next round tries again")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._again.wait(), max(0.0, self._next_tick - time.monotonic()))
            waiting = list(self._line)
            for place in waiting:
                place.turn.set_result(False)
            self._line.clear()
            self._idle = False
            if waiting:
                with suppress(SQLAlchemyError):
                    await self._check([(place.claim, 0.0) for place in waiting], ())
            self._task = None

    async def _round(self) -> None:
        """Look once how much work there is, store who waits, and wake as many as there is work."""
        now = time.monotonic()
        due: list[Place] = []
        if now >= self._next_tick:
            self._next_tick = now + POLL_SECONDS
            self._change += 1
            self._patience = FRUITLESS_LOOKS
            due = [place for place in self._line if place.known_until <= now < place.until]
        seconds = {place: min(AHEAD_SECONDS, place.until - now) for place in due}
        self._gone -= {place.claim.worker for place in self._line}  # it has come back
        gone = set(self._gone)
        change = self._change
        work = await self._check([(place.claim, value) for place, value in seconds.items()], gone)
        self._gone -= gone
        for place, value in seconds.items():
            place.known_until = now + value
        self._idle = work == 0 and self._change == change
        self._wake(work)

    async def _check(self, waiting: Sequence[tuple[Claim, float]], gone: Iterable[str]) -> int:
        """Store who waits for so many seconds, and who is gone; return how much work there is."""
        core = self._claims.core

        def check() -> int:
            if waiting or gone:
                with core.database.transaction() as session:
                    core.presence.record_waiting(session, waiting)
                    core.presence.record_gone(session, gone)
            with core.database.reading() as session:
                return count_work(session, core.only)

        return await anyio.to_thread.run_sync(check, limiter=self._threads)

    def _wake(self, work: int) -> None:
        """Let as many look as there is work, but for what those that look now will take."""
        now = time.monotonic()
        looking = sum(now - since < POLL_SECONDS for since in self._woken.values())  # another one hangs at its search
        count = min(work - looking, LOOKS_AT_ONCE - len(self._woken), self._patience)
        for place in list(self._line):
            if count <= 0:
                return
            if self._may_find(place):
                del self._line[place]
                self._woken[place] = now
                place.turn.set_result(True)
                count -= 1

    def _may_find(self, place: Place) -> bool:
        """Return whether a claim may find work: something has changed since it, or one like it, found none.

        Workers without a GPU are alike; those with one differ by the room on it, and by the study they have loaded.
        """
        alike = self._change_without_gpu if place.claim.gpu is None else -1
        return max(place.looked_at, alike) < self._change
