"""Wakes requests that wait for something to change, in this process at once, in others by their own polling."""

import asyncio
import threading


class Notifier:
    """`notify` from any thread; `wait` on the event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self.closed = False

    def notify(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """The service stops: whoever waits gets its answer now."""
        self.closed = True
        self.notify()

    async def wait(self, seconds: float) -> None:
        """Return after a change, or after so many seconds."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.add(entry)
        try:
            if not self.closed:
                await asyncio.wait_for(entry[1].wait(), seconds)
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(entry)
