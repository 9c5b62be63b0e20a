"""Limits on how often one client asks, and on how often an address presents a wrong token: middleware.

A client is a token, else an address. Each has a bucket of requests that fills at its rate and holds half a minute's: a
burst passes, and a loop without a pause is slowed down. Workers, and trainers of external studies, have ten times as
many; what tells whether the service is there is never limited. All of it is in memory, for each service, on its event
loop.
"""

import hashlib
import math
import re
import time
from collections import OrderedDict

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.service.access.refusals import network_of
from luthier.service.caller import current
from luthier.service.errors import TooMany

BURST_SECONDS = 30.0  # a bucket holds the requests of so many seconds
WORKER_FACTOR = 10.0
WRONG_PER_MINUTE = 300.0  # wrong tokens of one address; a fleet of 64 workers with an old one stays below it
WRONG_BURST = 1500.0
MOST_CLIENTS = 10_000  # that are remembered; the one that was quiet for the longest is forgotten
FREE = ("/healthz", "/readyz", "/metrics")
BUSY = re.compile(r"/v1/worker/.*|/v1/studies/[^/]+/(ask|report|tell)")  # paths of the many messages of trials


class Buckets:
    """A bucket for each client: it fills at a rate, and each request takes one out. For one event loop."""

    def __init__(self, per_second: float, most: float) -> None:
        """Begin with full buckets; `most` is what one holds."""
        self._per_second, self._most = per_second, most
        self._filled: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (what it held, and when)

    def take(self, client: str) -> float:
        """Take one out; return 0, or for an empty bucket the seconds until there is one, and then nothing is taken."""
        left, now = self._left(client)
        if left < 1.0:
            return (1.0 - left) / self._per_second
        self._keep(client, left - 1.0, now)
        return 0.0

    def wait_seconds(self, client: str) -> float:
        """Return the seconds until a bucket has one; 0 where it has one now. Nothing is taken."""
        return max(1.0 - self._left(client)[0], 0.0) / self._per_second

    def _left(self, client: str) -> tuple[float, float]:
        now = time.monotonic()
        held, at = self._filled.get(client, (self._most, now))
        return min(held + max(now - at, 0.0) * self._per_second, self._most), now

    def _keep(self, client: str, left: float, now: float) -> None:
        self._filled[client] = left, now
        self._filled.move_to_end(client)
        if len(self._filled) > MOST_CLIENTS:
            self._filled.popitem(last=False)


class RateLimit:
    """Answer 429 to a client that asks too often; behind the access control, which knows who calls."""

    def __init__(self, app: ASGIApp, per_second: float) -> None:
        """Put the limit before `app`; `per_second`: the requests of one client."""
        self.app = app
        self._per_second = per_second
        self._users = Buckets(per_second, per_second * BURST_SECONDS)
        self._workers = Buckets(per_second * WORKER_FACTOR, per_second * WORKER_FACTOR * BURST_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request within the limit; refuse the others."""
        if scope["type"] == "http" and scope["path"] not in FREE:
            is_busy = BUSY.fullmatch(scope["path"]) is not None
            wait = (self._workers if is_busy else self._users).take(client_of(scope))
            if wait:
                limit = self._per_second * (WORKER_FACTOR if is_busy else 1.0)
                text = (
                    f"Too many requests: this client sends more than {limit:g} a second (LUTHIER_REQUESTS_PER_SECOND). "
                    "Pause between requests, or read the stream of events instead of asking again and again."
                )
                await TooMany(text, retry_after=math.ceil(wait)).response()(scope, receive, send)
                return
        await self.app(scope, receive, send)


class WrongTokens:
    """Answer 429 to an address that presents wrong tokens again and again; around the access control.

    A token that was right before is let through to it, so that whoever guesses behind a proxy shuts out no worker and
    no user who is at work behind the same one.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Put the limit around `app`, which answers 401 to a wrong token."""
        self.app = app
        self._wrong = Buckets(WRONG_PER_MINUTE / 60, WRONG_BURST)
        self._right: OrderedDict[bytes, None] = OrderedDict()  # digests of tokens that were right

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a token that was never right from an address with too many wrong ones; hand on everything else."""
        token = dict(scope["headers"]).get(b"authorization") if scope["type"] == "http" else None
        if token is None:
            await self.app(scope, receive, send)
            return
        digest, address = hashlib.sha256(token).digest(), _address(scope)
        wait = 0.0 if digest in self._right else self._wrong.wait_seconds(address)
        if wait:
            text = "Too many wrong tokens from this address; wait, and present the right one."
            await TooMany(text, retry_after=math.ceil(wait)).response()(scope, receive, send)
            return

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(digest, address, message["status"])
            await send(message)

        await self.app(scope, receive, noted)

    def _note(self, digest: bytes, address: str, status: int) -> None:
        """Remember from an answer's status whether a token was right."""
        if status == 401 and digest in self._right:  # of another scope, or revoked by now: no guess
            del self._right[digest]
        elif status == 401:
            self._wrong.take(address)
        elif status < 400:
            self._right[digest] = None
            self._right.move_to_end(digest)
            if len(self._right) > MOST_CLIENTS:
                self._right.popitem(last=False)


def client_of(scope: Scope) -> str:
    """Return who asks, as the key of its limits: a token of the service, else the address."""
    caller = current()
    return _address(scope) if caller.token_id is None else f"token {caller.token_id}"


def _address(scope: Scope) -> str:
    return network_of((scope.get("client") or ("",))[0])
