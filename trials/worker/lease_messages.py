"""The messages of one assignment to the service, under its lease: reports, renewals and its outcome.

The relay builds them here. The child's messages carry neither the lease token nor a time.
"""

import time

from luthier.studies.protocol import Assignment, DataProblem, Outcome, Reason, Renewal, Report
from luthier.trials.child.messages import Evaluated, Result
from luthier.trials.worker.time_limit import TimeLimit


class LeaseMessages:
    """The messages of an assignment that has just been claimed.

    Args:
        assignment: With its lease token.
        limit: Its time.
    """

    def __init__(self, assignment: Assignment, limit: TimeLimit) -> None:
        self._limit = limit
        self._id = assignment.id
        self._token = assignment.token
        self._claimed = time.monotonic()

    def renewal(self) -> Renewal:
        """Return the message that the assignment is still worked on."""
        return Renewal(id=self._id, token=self._token, timed_seconds=self._limit.used_seconds)

    def report(self, evaluated: Evaluated) -> Report:
        """Return the report of an evaluation."""
        return Report(
            id=self._id,
            token=self._token,
            seconds=self._seconds(),
            timed_seconds=self._limit.used_seconds,
            step=evaluated.step,
            metrics=evaluated.metrics,
            resume=evaluated.resume,
            best=evaluated.best,
            examples_per_second=evaluated.examples_per_second,
            peak_memory_bytes=evaluated.peak_memory_bytes,
            micro_batch=evaluated.micro_batch,
        )

    def outcome(self, result: Result) -> Outcome:
        """Return the message that ends the assignment."""
        return Outcome(
            id=self._id,
            token=self._token,
            seconds=self._seconds(),
            timed_seconds=self._limit.used_seconds,
            status=result.status,
            reason=result.reason,
            problem=result.problem,
            micro_batch=result.micro_batch,
            peak_memory_bytes=result.peak_memory_bytes,
            examples_per_second=result.examples_per_second,
            inspection=result.inspection,
            evaluation=result.evaluation,
            comparison=result.comparison,
            prediction=result.prediction,
            onnx=result.onnx,
            resume=result.resume,
        )

    def _seconds(self) -> float:
        return time.monotonic() - self._claimed


def failed(reason: Reason, text: str) -> Result:
    """Return the result of work that failed outside of the child.

    Args:
        reason: The kind of failure.
        text: A sentence for people.
    """
    return Result(status="failed", reason=reason, problem=DataProblem(message=text))
