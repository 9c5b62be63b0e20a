"""Seconds since the epoch, as the database has them, as datetimes in UTC, as REST has them."""

from datetime import UTC, datetime


def instant(seconds: float | None) -> datetime | None:
    """Return the instant so many seconds after the epoch, in UTC; None for None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
