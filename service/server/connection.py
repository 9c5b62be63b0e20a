"""A client's connection: uvicorn's, closed in time when the client is slow, silent or gone, and bounded in number.

uvicorn itself knows one deadline, for connections between two requests. A client that opens thousands of connections
and sends a byte an hour into each would take every file descriptor of the service.
"""

import asyncio
import contextlib
import functools
import resource
import socket
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from luthier.service.server.timings import Timings

RESERVED_FILES = 256  # descriptors for the database, logs, models on their way and children
WANTED_FILES = 16_384
BODY_BYTES_PER_SECOND = 500  # the least that a body must bring, over `Timings.body_seconds`
ANSWER_BYTES_PER_SECOND = 500  # the least that a client must take of an answer, over `Timings.answer_seconds`


def allow_many_files() -> None:
    """Raise this process's limit of open files towards WANTED_FILES, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS takes less than its hard limit says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def notice_lost_peers(listener: socket.socket) -> None:
    """Have the connections that `listener` accepts end a minute after their machine vanished, also while it is asked.

    Such a machine sends no end: a worker's request for work would stay open, and count as a worker that waits.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):  # seconds, seconds, times
        if hasattr(socket, option):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def most_connections() -> int:
    """Return how many connections may be open at the same time, by this process's limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = WANTED_FILES if soft == resource.RLIM_INFINITY else min(soft, WANTED_FILES)
    return max(files - RESERVED_FILES, files // 2)


class Connection(H11Protocol):
    """One connection. A timer looks at it from time to time, as `Timings.connection_look_seconds` says.

    A client may take `head_seconds` for the head of a request. Its body must bring, and it must take of the answer,
    BODY_BYTES_PER_SECOND and ANSWER_BYTES_PER_SECOND. After an answer that came before the whole body, the rest of the
    body is thrown away for `linger_seconds`, so that the client can read the answer. A request under way has no limit.
    """

    def __init__(self, timings: Timings, limit: int, **parts: Any) -> None:
        """Take the deadlines, how many connections there may be, and uvicorn's parts."""
        super().__init__(**parts)
        self._timings = timings
        self._limit = limit
        self._look: asyncio.TimerHandle | None = None
        self._since = self.loop.time()  # of the present phase, or of the present period in which bytes are counted
        self._phase = "head"
        self._received = 0  # bytes in this period
        self._unsent = 0  # bytes that waited for the client when this period began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin. Where there are too many connections, the one that has been without a request longest is closed."""
        super().connection_made(transport)
        self._look = self.loop.call_later(self._timings.connection_look_seconds, self._check)
        if len(self.connections) > self._limit:
            self._make_room()

    def _make_room(self) -> None:
        """Close another connection if there are too many, or this one where all others have a request under way."""
        others = [other for other in self.connections if isinstance(other, Connection) and other is not self]
        others = [other for other in others if not other.transport.is_closing()]
        waiting = [other for other in others if other.waits_for_request]
        if len(others) >= self._limit and waiting:
            min(waiting, key=lambda other: other._since).transport.abort()
        elif len(others) >= self._limit:
            self._answer(503, "Too many connections; try again shortly.")

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self.waits_for_request and self._phase != "head":
            self._begin("head")
        self._received += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Go on after an answer: the connection waits for the next request, or for the rest of this one's body."""
        self._begin("linger" if self.conn.their_state is h11.SEND_BODY else "idle")
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._answer(400, msg)

    @property
    def waits_for_request(self) -> bool:
        """True while no request is complete or being answered."""
        return self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete)

    def _begin(self, phase: str) -> None:
        self._phase, self._since, self._received = phase, self.loop.time(), 0

    def _check(self) -> None:
        """Close the connection if its client is too slow."""
        self._look = self.loop.call_later(self._timings.connection_look_seconds, self._check)
        unsent = self.transport.get_write_buffer_size()
        if unsent and (self.flow.write_paused or self.transport.is_closing()):
            self._check_answer(unsent)
        elif self.transport.is_closing():
            return
        elif self._phase == "linger" and self.conn.their_state is h11.SEND_BODY:
            if self._elapsed() > self._timings.linger_seconds:
                self.transport.close()
        elif self.waits_for_request:
            if self._phase == "linger":  # the rest of that body has come; uvicorn set no deadline for what follows
                self._begin("head")
            elif self._phase == "head" and self._elapsed() > self._timings.head_seconds:
                self._answer(408, "The request did not arrive in time.")
        else:
            self._check_body()

    def _check_body(self) -> None:
        """Close the connection if the body of the request under way comes too slowly, and we do wait for it."""
        waits = self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused
        if self._phase != "body" or not waits or self.cycle.waiting_for_100_continue:
            self._begin("body")
        elif self._elapsed() > self._timings.body_seconds:
            if self._received < BODY_BYTES_PER_SECOND * self._timings.body_seconds:
                self.transport.close()
            self._begin("body")

    def _check_answer(self, unsent: int) -> None:
        """Cut the connection if the client takes the answer too slowly; closing would wait for it."""
        if self._phase != "answer":
            self._begin("answer")
            self._unsent = unsent
        elif self._elapsed() > self._timings.answer_seconds:
            if self._unsent - unsent < ANSWER_BYTES_PER_SECOND * self._timings.answer_seconds:
                self.transport.abort()
            self._begin("answer")
            self._unsent = unsent

    def _elapsed(self) -> float:
        return self.loop.time() - self._since

    def _answer(self, status: int, text: str) -> None:
        """Answer before there is a request for the application, and close."""
        headers = {"content-type": "text/plain; charset=utf-8", "connection": "close", "cache-control": "no-store"}
        headers |= {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'"}
        response = h11.Response(status_code=status, headers=list(headers.items()), reason=STATUS_PHRASES[status])
        try:
            for event in (response, h11.Data(data=text.encode()), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            pass  # an answer is under way already
        self.transport.close()


def protocol(timings: Timings) -> type[asyncio.Protocol]:
    """Return what makes a connection, for uvicorn's configuration."""
    return cast(type[asyncio.Protocol], functools.partial(Connection, timings, most_connections()))
