"""The interface between fine-tuning code and its worker: a folder for files, reports, log lines.

Jobs call it. The child process implements it over its socket to the worker (`luthier.trials.child.connection`), tests
implement it in memory.
"""

from pathlib import Path
from typing import Protocol

from luthier.studies.wire import Metrics


class Session(Protocol):
    """An assignment's session with its worker.

    Attributes:
        folder: The folder of this assignment's files, to read and to write.
    """

    folder: Path

    def report(
        self,
        *,
        step: int,
        metrics: Metrics,
        resume: Path | None = None,
        best: Path | None = None,
        examples_per_second: float | None = None,
        peak_memory_bytes: int | None = None,
    ) -> None:
        """Send one evaluation.

        It waits first for the decision on the evaluation before, so that a trial's end does not depend on the speed of
        the service; but only for some seconds, so that a service that is away stops no training. The decision on this
        evaluation arrives while training continues, and `poll` or the next report raises it.

        Args:
            step: The evaluation's number, from 1.
            metrics: The scores on the validation split; a number that is not finite is sent as None.
            resume: A complete file in `folder` from which training can be resumed after this step.
            best: A complete file in `folder` with the weights, if they are the trial's best so far. Both files need
                names that no other evaluation or attempt uses, because they may be sent much later.
            examples_per_second: Training speed in this attempt.
            peak_memory_bytes: The most memory that was in use.

        Raises:
            Ended: The trial is to end now.
        """

    def poll(self) -> None:
        """Raise Ended if a decision to end the trial has arrived. It is cheap; call it every few optimizer steps."""

    def log(self, text: str) -> None:
        """Add a line to the trial's log."""
