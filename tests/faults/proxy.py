"""An HTTP proxy between workers and one service, which harms the messages that it is told to harm.

Each request has a connection of its own to the service. A harm is armed for the next message of a worker, and meets
exactly one.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.faults.wires import Loop, Port, hang_up

WORKERS = b"/v1/worker/"


@dataclass
class Harm:
    """What happens to one message.

    Attributes:
        kind: a key of HARMS.
        seconds: of a delay.
        met: set once a message was harmed.
        route: the end of the path, where only such messages are meant: claim, report, renew, finish; "" for any.
    """

    kind: str
    seconds: float = 0.0
    route: str = ""
    met: threading.Event = field(default_factory=threading.Event)


class Proxy(Port):
    """A proxy before the service on a port. Threads may arm harms."""

    def __init__(self, loop: Loop, port: int) -> None:
        self._target = port
        self._armed = deque[Harm]()
        self._late: set[asyncio.Task[None]] = set()  # repeats under way: the loop itself keeps no task alive
        super().__init__(loop)

    @property
    def url(self) -> str:
        """What workers are given."""
        return f"http://127.0.0.1:{self.port}"

    def arm(self, harm: Harm) -> None:
        """Harm the next message of a worker that this harm is meant for."""
        self._armed.append(harm)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on, or harm it."""
        request = await _read(reader)
        harm = self._take(request)
        answer = await HARMS[harm.kind](request, harm, self._send)
        if harm.kind == "repeat later":
            task = asyncio.create_task(self._repeat(request, harm.seconds))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        harm.met.set()
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _repeat(self, request: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        with contextlib.suppress(OSError):
            await self._send(request)

    def _take(self, request: bytes) -> Harm:
        path = request.split(b" ", 2)[1]
        for harm in list(self._armed):
            if path.startswith(WORKERS) and path.decode().endswith(harm.route):
                self._armed.remove(harm)
                return harm
        return Harm("none")

    async def _send(self, request: bytes) -> bytes:
        """Send a request, or a part of one, to the service, and return its whole answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            await hang_up(writer)


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Read a request whole; the connection to the service is to end after it."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(b":") for line in lines[1:])}
    body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
    kept = [line for line in lines if not line.lower().startswith((b"connection:", b"keep-alive:"))]
    return b"\r\n".join([*kept, b"Connection: close", b"", b""]) + body


Send = Callable[[bytes], Awaitable[bytes]]


async def _pass(request: bytes, harm: Harm, send: Send) -> bytes:
    return await send(request)


async def _drop_request(request: bytes, harm: Harm, send: Send) -> bytes:
    return b""


async def _drop_answer(request: bytes, harm: Harm, send: Send) -> bytes:
    await send(request)
    return b""


async def _delay_request(request: bytes, harm: Harm, send: Send) -> bytes:
    await asyncio.sleep(harm.seconds)
    return await send(request)


async def _delay_answer(request: bytes, harm: Harm, send: Send) -> bytes:
    answer = await send(request)
    await asyncio.sleep(harm.seconds)
    return answer


async def _double(request: bytes, harm: Harm, send: Send) -> bytes:
    first, _ = await asyncio.gather(send(request), send(request))
    return first


async def _cut_request(request: bytes, harm: Harm, send: Send) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    half = head + b"\r\n\r\n" + body[: len(body) // 2]
    try:
        async with asyncio.timeout(0.2):  # the service waits for the other half until we hang up
            await send(half)
    except TimeoutError:
        pass
    return b""


async def _cut_answer(request: bytes, harm: Harm, send: Send) -> bytes:
    answer = await send(request)
    return answer[: len(answer) - max(1, len(answer) // 2)]


HARMS: dict[str, Callable[[bytes, Harm, Send], Awaitable[bytes]]] = {
    "none": _pass,
    "drop request": _drop_request,
    "drop answer": _drop_answer,
    "delay request": _delay_request,
    "delay answer": _delay_answer,
    "double": _double,
    "repeat later": _pass,
    "cut request": _cut_request,
    "cut answer": _cut_answer,
}
