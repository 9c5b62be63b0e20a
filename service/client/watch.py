"""The decisions of a wait for a study's end: what each look at it means, for clients with and without an event loop."""

import sys
import time

from luthier.service.client.errors import ServiceError, Unreachable
from luthier.service.schemas import StudyView
from luthier.studies.protocol import ENDED

AWAY_SECONDS = 60.0  # a service that restarts is waited for


class Watch:
    """A wait for one study's end; the caller looks at the study, and sleeps between two looks."""

    def __init__(self, name: str, progress: bool, timeout_seconds: float | None, interval_seconds: float) -> None:
        """Begin now; the arguments are those of `Client.wait`."""
        self._name = name
        self._progress = progress
        self._timeout = timeout_seconds
        self._interval = interval_seconds
        self._began = self._answered = time.monotonic()
        self._told = ""

    def is_over(self, study: StudyView) -> bool:
        """Return whether the study has ended; tell, if that is wanted, what has changed since the last look."""
        self._answered = time.monotonic()
        if self._progress and self._told != (line := repr(study)):
            print(line, file=sys.stderr, flush=True)
            self._told = line
        return study.state in ENDED

    def excuse(self, error: ServiceError) -> None:
        """Accept that a look failed, as while a service restarts. Raises `error` where waiting does not help."""
        is_away = isinstance(error, Unreachable) or error.status == 503
        if not is_away or time.monotonic() - self._answered > AWAY_SECONDS:
            raise error

    def check_time(self) -> None:
        """Raise TimeoutError where no time is left for another look."""
        if self._timeout is not None and time.monotonic() - self._began + self._interval > self._timeout:
            raise TimeoutError(f"The study {self._name} has not ended after {self._timeout:g} s; it goes on.")
