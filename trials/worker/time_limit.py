"""A trial's time: how much of `budget.trial_seconds` its attempts have used, and when it is over.

The relay starts the clock when the child gets the assignment, and stops it while the child waits for room on its disk.
"""

import asyncio
import time

from luthier.studies.protocol import TRAINING, Assignment
from luthier.studies.semantics import ENDS_IN_TIME


class TimeLimit:
    """The time of one attempt at a trial, and what earlier attempts have used of the limit.

    Attributes:
        seconds: The limit; None: there is none.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.seconds = assignment.spec.budget.trial_seconds if assignment.kind in TRAINING else None
        self._counts_attempts = assignment.spec.semantics >= ENDS_IN_TIME
        self._before = assignment.timed_seconds if self._counts_attempts else 0.0
        self._began: float | None = None  # monotonic
        self._held = 0.0

    def start(self) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def hold(self, seconds: float) -> None:
        """Leave out some seconds from now on, in which the child waits for its disk."""
        self._held += seconds

    @property
    def used_seconds(self) -> float | None:
        """What is told to the service: the seconds of all attempts; None where no limit counts them."""
        if self.seconds is None or not self._counts_attempts:
            return None
        since = 0.0 if self._began is None else time.monotonic() - self._began
        return self._before + max(since - self._held, 0.0)

    @property
    def is_used_up(self) -> bool:
        """Whether earlier attempts have used all of the time."""
        return self.seconds is not None and self._before >= self.seconds

    def deadline(self) -> float | None:
        """Return when the time is over, on the event loop's clock; None for never. The clock must have started."""
        if self.seconds is None or self._began is None:
            return None
        left = self._began + self._held + self.seconds - self._before - time.monotonic()
        return asyncio.get_running_loop().time() + left
