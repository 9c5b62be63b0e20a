"""A wire to a database server that can be cut: what is sent over it then gets lost, and nobody is told."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


class Loop:
    """An event loop in a thread of its own, which serves proxies and wires."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        """Run a coroutine in the loop, and return its value."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def close(self) -> None:
        """End all that runs in it."""
        self.run(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _cancel_all(self) -> None:
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=1)


class Port:
    """A port of the loopback. A subclass's `serve` works on each connection, in a task of its own.

    Attributes:
        port: its number.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._server = loop.run(self._open())
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Work on one connection; whoever calls closes it."""
        raise NotImplementedError

    async def _open(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            await self.serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # one of the two sides is gone
        finally:
            await hang_up(writer)
            self._tasks.discard(task)

    def close(self) -> None:
        """Stop listening, and cut all connections."""
        self._loop.run(self._end())

    async def _end(self) -> None:
        self._server.close()
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=10)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once, whatever is still to be sent."""
    writer.transport.abort()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


class Wire(Port):
    """A TCP forwarder. While `swallows`, bytes in both directions vanish."""

    def __init__(self, loop: Loop, port: int) -> None:
        self.swallows = False
        self._target = port
        super().__init__(loop)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward both ways until one side ends."""
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._target)
        pumps = [asyncio.ensure_future(self._pump(reader, ours)), asyncio.ensure_future(self._pump(theirs, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await hang_up(ours)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.swallows:
                writer.write(data)
                await writer.drain()

    def heal(self) -> None:
        """Let bytes through again; connections that lost some are ended, as a router that comes back does."""
        self.swallows = False
        self._loop.run(self._cut())

    async def _cut(self) -> None:
        for task in list(self._tasks):
            if task is not None:
                task.cancel()
