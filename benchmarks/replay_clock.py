"""The workers of a replay: they train by recorded curves, each evaluation at its recorded time on one common clock.

Both sides of replay.py are driven by `drive`.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from curve_files import Curve
from replay_table import Case, Trace

CONTINUE, PAUSE = "continue", "pause"


@dataclass
class Job:
    """A trial on a worker.

    Attributes:
        curve: What it scores.
        step: Evaluations so far.
        held: The side's own word for it.
    """

    curve: Curve
    step: int
    held: Any


class Side(Protocol):
    """A search that workers ask and tell. Times are seconds since the search's begin."""

    def claim(self, worker: int, now: float) -> Job | None:
        """Return the next trial of a worker; None where there is none now."""

    def report(self, job: Job, value: float, now: float) -> str:
        """Take the evaluation `job.step`, and return what the trial is to do: `continue`, or how it ends."""

    def finish(self, job: Job, how: str, now: float) -> None:
        """Take the end of a trial; `complete` by itself, `diverged`, or what the decision was."""


def drive(side: Side, case: Case) -> Trace:
    """Run a search until its GPU seconds are over, all workers' seconds, idle ones' too; or it has the best score."""
    trace, order = Trace([]), count()
    events: list[tuple[float, int, int, Job]] = []  # (time, order, worker, job that evaluates then)
    idle = list(range(case.workers))
    now, end = 0.0, case.gpu_seconds / case.workers
    while True:
        for worker in tuple(idle):
            job = side.claim(worker, now)
            if job is None:
                break  # nor is there work for the others
            idle.remove(worker)
            trace.trials += job.step == 0
            heapq.heappush(events, (now + _next_seconds(job, case), next(order), worker, job))
        if not events:
            return trace
        now, _, worker, job = heapq.heappop(events)
        if now > end:
            return trace
        job.step += 1
        how = _evaluated(side, job, now, case, trace)
        if trace.value >= case.table.best:
            return trace
        if how == CONTINUE:
            heapq.heappush(events, (now + _next_seconds(job, case), next(order), worker, job))
        else:
            side.finish(job, how, now)
            idle.append(worker)


def _evaluated(side: Side, job: Job, now: float, case: Case, trace: Trace) -> str:
    """Report an evaluation, and return how the trial goes on."""
    value = job.curve.validation[job.step - 1]
    if value is None:
        return "diverged"
    trace.add(now * case.workers, value, job.curve.test[job.step - 1])
    decision = side.report(job, value, now)
    is_last = job.step == len(job.curve.validation)
    return "complete" if is_last and decision in (CONTINUE, PAUSE) else decision  # a shorter curve than its epochs ends


def _next_seconds(job: Job, case: Case) -> float:
    """Return the seconds from a trial's latest evaluation to its next one."""
    seconds = case.table.seconds(job.curve)
    return seconds[job.step] - (seconds[job.step - 1] if job.step else 0.0)


def grid(end: float, points: int = 200) -> Iterator[float]:
    """Yield times up to the end."""
    return (end * i / points for i in range(1, points + 1))
