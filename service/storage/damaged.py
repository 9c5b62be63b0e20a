"""What can be shown of a row that was damaged, or that a newer version wrote, so that it fails no list.

The views of studies, trials and schedules call it where making a whole view raises one of `UNREADABLE`.
"""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from luthier.service.errors import Problem
from luthier.service.storage.column_types import Unreadable, read_json
from luthier.studies.text import one_line

UNREADABLE = (Problem, ValueError, TypeError, LookupError, AttributeError, OverflowError, OSError)
"""What a view of such a row raises."""
LAST_INSTANT = 2.5e11  # seconds since the epoch: about the year 9900


def sentence(error: Exception) -> str:
    """Return the text that stands beside what can be shown of a row."""
    why = one_line(error).rstrip(".")
    return f"Its row cannot be shown whole: {why}. Delete it, or use the version of Luthier that wrote it."


def instant_or_epoch(seconds: Any) -> datetime:
    """Return the instant so many seconds after the epoch; the epoch itself where that is no time."""
    is_time = isinstance(seconds, int | float) and 0 <= seconds <= LAST_INSTANT
    return datetime.fromtimestamp(seconds if is_time else 0, UTC)


def stored_object(value: Any) -> dict[str, Any]:
    """Return a JSON object as it is stored, also where this version cannot read it; empty where it is none."""
    stored = value.stored if isinstance(value, Unreadable) else value
    if isinstance(stored, str):
        stored = read_json(stored)
    elif isinstance(stored, BaseModel):
        stored = stored.model_dump(mode="json")
    return stored if isinstance(stored, dict) else {}
