"""Wake requests that wait for a change of the database; routes notify it after they changed something.

It reaches the requests of this process only. Those of other services find the change by their own polling.
"""

import asyncio
import threading


class Notifier:
    """Requests that wait, and the call that wakes them. `notify` from any thread; `wait` on an event loop."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self.closed = False

    def notify(self) -> None:
        """Wake all requests that wait now."""
        with self._lock:
            waiting = list(self._waiting)
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """Wake all requests, and let none wait from now on: the service stops."""
        self.closed = True
        self.notify()

    async def wait(self, seconds: float) -> None:
        """Return after the next `notify`, or after so many seconds; immediately when closed."""
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
