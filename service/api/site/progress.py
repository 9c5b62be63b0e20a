"""How far a study is, for people: trials, time and GPU seconds, spent and left.

What is left is a guess from what was spent so far; nothing decides by it.
"""

from dataclasses import dataclass
from typing import Any

from luthier.service.schemas import StudyView
from luthier.studies.protocol import StudyState


@dataclass(frozen=True)
class Progress:
    """A study's progress.

    Attributes:
        ended: trials that have ended.
        total: trials of its budget; None without one.
        share: of its budget that is spent, 0 to 1; None where nothing limits it but its end.
        seconds: since its first trial started; None before.
        left_seconds: until its budget is spent, at the speed so far; None for unknown, or once it has ended.
        gpu_seconds: that it has used.
        gpu_left: GPU seconds until then; None for unknown, or once it has ended.
    """

    ended: int
    total: int | None
    share: float | None
    seconds: float | None
    left_seconds: float | None
    gpu_seconds: float
    gpu_left: float | None


def progress(view: StudyView, started_at: float | None, now: float) -> Progress:
    """Return a study's progress.

    Args:
        view: the study.
        started_at: of its first trial, in seconds since the epoch.
        now: by the same clock.
    """
    budget: dict[str, Any] = view.spec.get("budget") or {}
    counts = view.counts
    ended = counts.complete + counts.pruned + counts.failed + counts.cancelled
    until = view.finished_at.timestamp() if view.finished_at else now
    seconds = None if started_at is None else max(until - started_at, 0.0)
    spent = {"trials": ended, "wall_clock_seconds": seconds or 0.0, "gpu_seconds": view.gpu_seconds}
    shares = [min(used / budget[key], 1.0) for key, used in spent.items() if budget.get(key)]
    share = max(shares, default=None)
    alive = view.finished_at is None and view.state in (StudyState.RUNNING, StudyState.STOPPING)
    factor = (1 - share) / share if alive and share else None  # what is left is so many times what is spent
    return Progress(
        ended=ended,
        total=budget.get("trials"),
        share=1.0 if view.state == StudyState.COMPLETED else share,
        seconds=seconds,
        left_seconds=None if factor is None or seconds is None else seconds * factor,
        gpu_seconds=view.gpu_seconds,
        gpu_left=None if factor is None else view.gpu_seconds * factor,
    )
