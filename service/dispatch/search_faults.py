"""Errors of one study's search: logged once, shown on the study, and left alone for a while.

Claims, reports and the reaper note here what a search raised, and go on with other studies. What failed is kept in
memory, by study, and its sentence in `StudyRow.search_error`.
"""

import logging
import threading
import time
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from luthier.service.storage.database import Database
from luthier.service.storage.tables import StudyRow
from luthier.studies.search.storage import STORAGE_ERRORS

log = logging.getLogger("luthier")
FIRST_PAUSE = 2.0  # seconds until a search that failed is asked again; each failure in a row doubles it
LONGEST_PAUSE = 60.0  # seconds
LONGEST_TEXT = 300  # characters of an error's own words
PASSING = (*STORAGE_ERRORS, SQLAlchemyError, OSError, MemoryError)  # a later attempt may do better by itself


class Doing(StrEnum):
    """The work for a study that failed; each fails and heals by itself."""

    DRAW = "No trial can be drawn now"
    HAND_OUT = "Its queued work cannot be handed out now"
    SETTLE = "It cannot be moved on now"
    TELL = "The search lacks results of trials, and plots with it"


@dataclass
class _Fault:
    text: str
    repeats: int  # the same error in a row
    pause: float  # seconds
    until: float  # by this process's monotonic clock


class SearchFaults:
    """What went wrong in the searches of this process. Threads share it."""

    def __init__(self, database: Database) -> None:
        """Remember no fault yet."""
        self._database = database
        self._faults: dict[tuple[int, Doing], _Fault] = {}
        self._lock = threading.Lock()

    def rests(self, study_id: int, doing: Doing) -> bool:
        """Return whether the study's search failed at this so lately that it is left alone for now."""
        with self._lock:
            fault = self._faults.get((study_id, doing))
            return fault is not None and time.monotonic() < fault.until

    def note(self, study_id: int, name: str, doing: Doing, error: Exception) -> int:
        """Note that a study's search raised an error: log it if it is a new one, and store its sentence.

        Args:
            study_id: the study.
            name: its name, for the log.
            doing: what the search failed at.
            error: what it raised.

        Returns:
            How many times in a row it raised this error; 0 for an error of the database or the machine, which a later
            attempt need not meet.

        Raises:
            SQLAlchemyError: the database does not answer.
        """
        text = f"{doing}: {error_text(error)} The service tries again."
        with self._lock:
            before = self._faults.get((study_id, doing))
            repeats = before.repeats + 1 if before is not None and before.text == text else 1
            pause = FIRST_PAUSE if before is None else min(max(2 * before.pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._faults[study_id, doing] = _Fault(text, repeats, pause, time.monotonic() + pause)
            shown = self._text(study_id)
        if repeats == 1 and isinstance(error, PASSING):
            log.warning("study %s: %s", name, text)
        elif repeats == 1:
            log.error("study %s: %s", name, text, exc_info=error)
        self._store(study_id, shown)
        return 0 if isinstance(error, PASSING) else repeats

    def healed(self, study_id: int, doing: Doing) -> str | None:
        """Forget what the search failed at, as it works now, and return the sentence that is still true, or None."""
        with self._lock:
            self._faults.pop((study_id, doing), None)
            return self._text(study_id)

    def heal(self, study_id: int, doing: Doing) -> None:
        """Forget what the search failed at, also in the study's row. It costs nothing where nothing had failed."""
        if (study_id, doing) in self._faults:
            self._store(study_id, self.healed(study_id, doing))

    def show(self, study_id: int) -> None:
        """Store the sentence that is true now, or none, in the study's row."""
        with self._lock:
            text = self._text(study_id)
        self._store(study_id, text)

    def wake(self) -> None:
        """Let every search be asked again at once: the database is back."""
        with self._lock:
            for fault in self._faults.values():
                fault.until = fault.pause = 0.0

    def forget(self, study_id: int) -> None:
        """Forget a study that has ended or is gone."""
        with self._lock:
            for doing in Doing:
                self._faults.pop((study_id, doing), None)

    def _text(self, study_id: int) -> str | None:
        faults = (self._faults.get((study_id, doing)) for doing in Doing)
        return next((fault.text for fault in faults if fault is not None), None)

    def _store(self, study_id: int, text: str | None) -> None:
        changed = StudyRow.search_error.is_distinct_from(text)
        with self._database.transaction() as session:
            session.execute(update(StudyRow).where(StudyRow.id == study_id, changed).values(search_error=text))


def error_text(error: Exception) -> str:
    """Return an error as a sentence for a study's user; one of the database may hold values, which are left out."""
    if isinstance(error, (*STORAGE_ERRORS, SQLAlchemyError)):
        return f"its storage did not answer, or refused a value ({type(error).__name__})."
    words = " ".join(str(error).split())[:LONGEST_TEXT].rstrip(".")
    return f"{type(error).__name__}{': ' if words else ''}{words}."
