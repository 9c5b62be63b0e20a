"""A wire to a database server that can be cut: what is sent over it then gets lost, and nobody is told."""

import asyncio
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


class Wire:
    """A TCP forwarder on a port of the loopback. While `swallows`, bytes in both directions vanish."""

    def __init__(self, loop: Loop, port: int) -> None:
        self.swallows = False
        self._target, self._loop = port, loop
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = loop.run(self._open())
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _open(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, ours}
        await asyncio.gather(self._pump(reader, ours), self._pump(theirs, writer), return_exceptions=True)
        self._writers -= {writer, ours}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not self.swallows:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def heal(self) -> None:
        """Let bytes through again; connections that lost some are ended, as a router that comes back does."""
        self.swallows = False
        self._loop.run(self._cut())

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def close(self) -> None:
        """Stop listening."""
        self._loop.run(self._cut())
        self._server.get_loop().call_soon_threadsafe(self._server.close)
