"""Openings of searches: the trials of a study are read in a thread of their own, while others go on.

Reading ten thousand trials takes seconds. Whoever needs the search waits a moment for it and does something else
after that: a claim takes another study's work, a report is told to Optuna later.
"""

import threading
import time
from collections.abc import Callable

from luthier.service.errors import Unavailable
from luthier.studies.search.search import Search

PATIENCE_SECONDS = 1.0  # from the start of an opening: most take milliseconds
AT_A_TIME = threading.BoundedSemaphore(8)  # each holds a connection to the database


class SearchOpening(Unavailable):
    """The search of a study is being opened; try again in a moment."""


class Opening(threading.Thread):
    """A thread that opens one search. It is a daemon, so that a service ends without it."""

    def __init__(self, name: str, make: Callable[["Opening"], Search], done: Callable[["Opening"], None]) -> None:
        """Make the thread; `start` begins it.

        Args:
            name: the study's name.
            make: opens and reads the search; it is given the thread.
            done: called in the thread at its end, with `search` or `error` set.
        """
        super().__init__(name=f"luthier-open-{name}", daemon=True)
        self.study = name
        self.search: Search | None = None
        self.error: Exception | None = None
        self._make = make
        self._done = done
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._needs_turn = threading.Event()  # or has ended

    def run(self) -> None:
        """Open the search."""
        try:
            with AT_A_TIME:
                self.search = self._make(self)
        except Exception as error:
            self.error = error
        self._done(self)
        self._ended.set()
        self._needs_turn.set()

    def need_turn(self) -> None:
        """Say that the opening goes on under the study's turn, which who waits here may have."""
        self._needs_turn.set()

    def wait(self, patience: float, has_turn: bool) -> Search:
        """Return the search.

        Args:
            patience: seconds from the opening's start that it may take.
            has_turn: the caller has the study's turn, so that it must not wait where the opening needs that.

        Raises:
            SearchOpening: it takes longer.
            Exception: what was raised when it was opened.
        """
        event = self._needs_turn if has_turn else self._ended
        event.wait(max(0.0, self._began + patience - time.monotonic()))
        if not self._ended.is_set():
            raise SearchOpening(f"The trials of {self.study} are being read; try again in a moment.", retry_after=1)
        if self.search is None:
            raise self.error or SearchOpening("It could not be opened.", retry_after=1)
        return self.search
