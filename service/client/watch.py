"""Waits for the end of a study or a prediction: what each look at it means, with and without an event loop."""

import asyncio
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from luthier.service.client.errors import ServiceError, Unreachable
from luthier.service.schemas import StudyView
from luthier.service.schemas.predictions import PredictionView
from luthier.studies.protocol import ENDED

AWAY_SECONDS = 60.0  # a service that restarts is waited for

V = TypeVar("V")


class Wait(ABC, Generic[V]):
    """A wait for one thing's end: a look at it, a pause, and the next look."""

    def __init__(self, what: str, timeout_seconds: float | None, interval_seconds: float) -> None:
        """Begin now.

        Args:
            what: it is that is waited for, as the beginning of a sentence.
            timeout_seconds: how long to wait at most; None for as long as it takes.
            interval_seconds: between two looks.
        """
        self._what = what
        self._timeout = timeout_seconds
        self._interval = interval_seconds
        self._began = self._answered = time.monotonic()

    @abstractmethod
    def is_over(self, view: V) -> bool:
        """Return whether what was seen has ended. Raises ServiceError where that is no good end."""

    def end(self, look: Callable[[], V]) -> V:
        """Look until it has ended, and return what was seen then. Raises ServiceError, TimeoutError."""
        while True:
            try:
                view = look()
            except ServiceError as error:
                self._excuse(error)
            else:
                if self._has_ended(view):
                    return view
            self._check_time()
            time.sleep(self._interval)

    async def end_async(self, look: Callable[[], Awaitable[V]]) -> V:
        """Look as `end` does, and pause in the event loop, so that many can wait at once."""
        while True:
            try:
                view = await look()
            except ServiceError as error:
                self._excuse(error)
            else:
                if self._has_ended(view):
                    return view
            self._check_time()
            await asyncio.sleep(self._interval)

    def _has_ended(self, view: V) -> bool:
        self._answered = time.monotonic()
        return self.is_over(view)

    def _excuse(self, error: ServiceError) -> None:
        """Accept that a look failed, as while a service restarts. Raises `error` where waiting does not help."""
        is_away = isinstance(error, Unreachable) or error.status in (429, 503)
        if not is_away or time.monotonic() - self._answered > AWAY_SECONDS:
            raise error

    def _check_time(self) -> None:
        """Raise TimeoutError where no time is left for another look."""
        if self._timeout is not None and time.monotonic() - self._began + self._interval > self._timeout:
            raise TimeoutError(f"{self._what} has not ended after {self._timeout:g} s; it goes on.")


class StudyWait(Wait[StudyView]):
    """A wait for a study's end, whichever it is."""

    def __init__(self, name: str, progress: bool, timeout_seconds: float | None, interval_seconds: float) -> None:
        """Begin now; the arguments are those of `Client.wait`."""
        super().__init__(f"The study {name}", timeout_seconds, interval_seconds)
        self._progress = progress
        self._told = ""

    def is_over(self, view: StudyView) -> bool:
        """Return whether the study has ended; tell, if that is wanted, what has changed since the last look."""
        if self._progress and self._told != (line := repr(view)):
            print(line, file=sys.stderr, flush=True)
            self._told = line
        return view.state in ENDED


class PredictionWait(Wait[PredictionView]):
    """A wait for a prediction to be complete."""

    def __init__(self, sent: PredictionView, timeout_seconds: float | None, interval_seconds: float) -> None:
        """Begin now; the arguments are those of `Client.predict`."""
        super().__init__(f"The prediction {sent.id} of {sent.study}", timeout_seconds, interval_seconds)

    def is_over(self, view: PredictionView) -> bool:
        """Return whether the prediction is complete. Raises ServiceError 422 where it has failed."""
        if view.state in ("failed", "cancelled"):
            why = view.error or f"The prediction {view.id} of {view.study} is {view.state}."
            raise ServiceError(422, "Not predicted", why)
        return view.state == "complete"
