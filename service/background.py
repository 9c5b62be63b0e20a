"""A thread that calls a function at intervals."""

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger("luthier")


class Every(threading.Thread):
    """Calls `tick` every `seconds` until it is stopped; what one call raises does not end it."""

    def __init__(self, name: str, seconds: float, tick: Callable[[], None]) -> None:
        super().__init__(name=f"luthier-{name}", daemon=True)
        self._seconds, self._tick, self._stopped = seconds, tick, threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._tick()
            except SQLAlchemyError as error:
                log.warning("%s: the database could not be reached: %s", self.name, type(error).__name__)
            except Exception:
                log.exception("%s failed; the next round tries again", self.name)

    def stop(self) -> None:
        """Ask it to end."""
        self._stopped.set()
