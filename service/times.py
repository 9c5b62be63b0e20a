"""Times of the database (seconds since the epoch) as times of the REST interface (aware datetimes in UTC)."""

from datetime import UTC, datetime


def instant(seconds: float | None) -> datetime | None:
    """Return the instant so many seconds after the epoch, in UTC; None for None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
