"""Times of the database as times of the REST interface."""

from datetime import UTC, datetime


def instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
