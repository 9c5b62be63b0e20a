"""The runs of a schedule: their states, and which due times start one.

Every due time is a run, also one that is skipped. The service calls `decide`; the clock is an argument, and must never
be read here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from luthier.studies.schedule import ScheduleSpec

PUNCTUAL_SECONDS = 60.0  # a due time is missed, where catch_up is none, once so many seconds have passed


class SkipReason(StrEnum):
    """The reasons why a due time did not run."""

    STILL_RUNNING = "still_running"  # the run before had not ended, and concurrency is forbid
    TOO_LATE = "too_late"  # no service ran at the time, or the starting deadline had passed
    UNCHANGED = "unchanged"  # the data and the template are those of the last run that ended
    PAUSED = "paused"  # the schedule was paused


class RunState(StrEnum):
    """States of a run. Every due time is a run, also one that was skipped."""

    RUNNING = "running"  # its study searches, or its winner is being compared with the champion
    FINISHED = "finished"  # decided; `outcome` says how
    SKIPPED = "skipped"  # did not run; `reason` says why
    FAILED = "failed"  # ended without a winner; `message` says why, and the champion stayed
    CANCELLED = "cancelled"  # ended by a user, or replaced by the next run


class RunOutcome(StrEnum):
    """The effect of a finished run on the schedule's champion."""

    FIRST = "first"  # there was no champion: its winner became it
    PROMOTED = "promoted"  # its winner took the champion's place
    KEPT = "kept"  # the champion stayed
    REFUSED = "refused"  # there was no champion, and its winner was not good enough to be the first: nothing is in use


@dataclass(frozen=True)
class Due:
    """A due time, and the reason why it is skipped, if it is."""

    at: float  # seconds since the epoch
    skip: SkipReason | None  # None: a run starts


def decide(
    spec: ScheduleSpec, due: Sequence[float], now: float, is_last_batch: bool, has_active_run: bool
) -> list[Due]:
    """Decide for each of some due times if it fires, or why it is skipped.

    Args:
        spec: The schedule.
        due: Times that have come due, ascending, in seconds since the epoch.
        now: The present time, in seconds since the epoch.
        is_last_batch: No later time is pending. Only the last time of the last batch can fire: earlier ones are missed.
        has_active_run: A run of this schedule is RUNNING.

    Returns:
        A `Due` for each time, in order.
    """
    deadline = spec.starting_deadline_seconds
    if spec.catch_up == "none" and deadline is None:
        deadline = PUNCTUAL_SECONDS
    decided = []
    for i, at in enumerate(due):
        is_missed = not is_last_batch or i < len(due) - 1
        skip = None
        if spec.paused:
            skip = SkipReason.PAUSED
        elif is_missed or (deadline is not None and now - at > deadline):
            skip = SkipReason.TOO_LATE
        elif has_active_run and spec.concurrency == "forbid":
            skip = SkipReason.STILL_RUNNING
        decided.append(Due(at, skip))
    return decided
