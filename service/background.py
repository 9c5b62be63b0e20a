"""A thread that calls a function at intervals.

The reaper, the scheduler and the webhook run in such threads. The standard library's `threading.Timer` calls only
once, and APScheduler brings triggers, job stores and a pool of threads, which three functions at fixed intervals do not
need.
"""

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger("luthier")


class Every(threading.Thread):
    """A thread that calls `tick` every `seconds` until it is stopped. It logs an error of a call once, and continues.

    It is a daemon, so that a service which is killed does not wait for it.
    """

    def __init__(self, name: str, seconds: float, tick: Callable[[], None], first: float | None = None) -> None:
        """Make the thread; `start` begins it.

        Args:
            name: for logs; it follows `luthier-`.
            seconds: the pause before each call.
            tick: the function.
            first: the pause before the first call; None: as before each other.
        """
        super().__init__(name=f"luthier-{name}", daemon=True)
        self._seconds = seconds
        self._first = seconds if first is None else first
        self._tick = tick
        self._stopped = threading.Event()
        self._failing: str | None = None  # the error of the latest call

    def run(self) -> None:
        """Call `tick` until the thread is stopped."""
        pause = self._first
        while not self._stopped.wait(pause):
            pause = self._seconds
            try:
                self._tick()
                self._failing = None
            except Exception as error:
                if self._stopped.is_set():  # the end of the service cut the round off; the next service does it again
                    return
                before, self._failing = self._failing, f"{type(error).__name__}: {error}"
                if self._failing == before:
                    continue
                if isinstance(error, SQLAlchemyError):
                    why = "the database did not answer, or refused"
                    log.warning("%s: %s: %s; it tries again", self.name, why, type(error).__name__)
                else:
                    log.exception("%s failed; it tries again", self.name)

    def stop(self) -> None:
        """Ask the thread to end; it does once a call under way has returned."""
        self._stopped.set()
