"""Jumps of the database's clock, seen by comparing it with this process's monotonic clock.

The reaper asks at each round. A clock jumps when somebody sets it, and forward when its machine was suspended: the
monotonic clock stands still meanwhile, and so did the workers there.
"""

import logging
import time
from collections.abc import Callable

from luthier.service.storage.database import Database

log = logging.getLogger("luthier")


class ClockWatch:
    """Compares two clocks at each call of `look`. For one thread.

    An instant of the database lies between the moments before and after the question, so a slow answer makes the
    comparison coarser and is never taken for a jump.
    """

    def __init__(
        self, database: Database, tolerance_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin without a comparison.

        Args:
            database: whose clock is watched.
            tolerance_seconds: a smaller difference between two looks is no jump.
            monotonic: this process's clock, in seconds.
        """
        self._monotonic = monotonic
        self._database = database
        self._tolerance = tolerance_seconds
        self._lead: tuple[float, float] | None = None  # the database's clock minus ours: at least, at most

    def look(self) -> tuple[float, float]:
        """Return the database's instant in seconds since the epoch, and the seconds that its clock jumped; 0: none.

        A jump is since the last look: positive when the clock went forward, negative when it went back.

        Raises:
            SQLAlchemyError: the database does not answer.
        """
        before = self._monotonic()
        with self._database.reading() as session:
            now = self._database.time(session)
        lead = (now - self._monotonic(), now - before)
        last, self._lead = self._lead or lead, lead
        jump = max(lead[0] - last[1], 0.0) or min(lead[1] - last[0], 0.0)
        if abs(jump) < self._tolerance:
            return now, 0.0
        log.warning("The database's clock jumped by %+.1f s; no lease is lost by that.", jump)
        return now, jump
