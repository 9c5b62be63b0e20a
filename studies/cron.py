"""Cron expressions: the times that one names in a time zone.

`schedule.py` asks it for due times. The clock is an argument: it must never read the time itself.
"""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS = 5  # minute, hour, day of month, month, day of week
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name, as Europe/Berlin. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # no such file, a path that leads out, a directory
        raise ValueError("must be an IANA time zone, as UTC or Europe/Berlin") from None


def due_times(cron: str, timezone: str, after: float) -> Iterator[float]:
    """Yield the times that a cron expression names in a time zone, ascending and without end.

    Where clocks go forward, a time that does not exist comes due at the first one that does; where they go back, a
    time that exists twice comes due the first time only, unless minute or hour are given by `*` (as in Debian's cron).

    Args:
        cron: An expression of five fields, or one of NICKNAMES.
        timezone: The IANA name of the time zone.
        after: Seconds since the epoch; only later times are yielded.

    Returns:
        Seconds since the epoch.

    Raises:
        ValueError: For another expression or zone, when the function is called, before the first time is yielded.
    """
    text = NICKNAMES.get(cron.strip().lower(), cron)
    if len(text.split()) != FIELDS:
        raise ValueError("must have five fields: minute, hour, day of month, month, day of week; or be as @daily")
    try:
        times = CronSim(text, datetime.fromtimestamp(after, zone(timezone)))
    except (CronSimError, IndexError) as error:
        raise ValueError(f"is no cron expression: {error}") from None
    return _ascending(times, after)


def _ascending(times: Iterator[datetime], after: float) -> Iterator[float]:
    """Yield times in seconds since the epoch, without the repetitions of clocks that go back."""
    last = after
    for at in times:
        if at.timestamp() > last:
            last = at.timestamp()
            yield last
