"""Wake requests that wait for a change of the database; routes notify it after they changed something.

It reaches the requests of this process only. Those of other services find the change by their own polling.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Notifier:
    """Those who listen for changes, and the call that tells them. `notify` from any thread; the rest on a loop."""

    def __init__(self) -> None:
        """Begin with nobody listening."""
        self._lock = threading.Lock()
        self._listeners: set[tuple[asyncio.AbstractEventLoop, Callable[[], object]]] = set()
        self.closed = False

    def notify(self) -> None:
        """Tell all that listen now; each is called on its own event loop."""
        with self._lock:
            listeners = list(self._listeners)
        for loop, listener in listeners:
            loop.call_soon_threadsafe(listener)

    def close(self) -> None:
        """Wake all requests, and let none wait from now on: the service stops."""
        self.closed = True
        self.notify()

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call `listener` on this event loop at each `notify` in the block."""
        entry = (asyncio.get_running_loop(), listener)
        with self._lock:
            self._listeners.add(entry)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.discard(entry)

    async def wait(self, seconds: float) -> None:
        """Return after the next `notify`, or after so many seconds; immediately when closed."""
        changed = asyncio.Event()
        with self.listening(changed.set):
            if not self.closed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), seconds)
