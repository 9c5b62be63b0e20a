"""The interface between fine-tuning code and its worker: a folder for files, reports, log lines, waits for a disk.

Jobs call it. The child process implements it over its socket to the worker (`luthier.trials.child.connection`), tests
implement it in memory.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from luthier.studies.protocol import Decision
from luthier.studies.wire import Metrics
from luthier.trials.files import disk_problem

FIRST_PAUSE_SECONDS = 1.0  # before work that met a full disk is done again; doubles up to:
LONGEST_PAUSE_SECONDS = 8.0
Made = TypeVar("Made")


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

    def decided(self) -> Decision:
        """Wait for the decision on the latest evaluation, however long the service is away, and return it.

        At a rung a trial either pauses as it is then, or trains on: nothing may be trained meanwhile.

        Returns:
            `pause` or `continue`.

        Raises:
            Ended: The trial is to end now.
        """

    def poll(self) -> None:
        """Raise Ended if a decision to end the trial has arrived. It is cheap; call it every few optimizer steps."""

    def log(self, text: str) -> None:
        """Add a line to the trial's log."""

    def hold(self, seconds: float) -> None:
        """Wait for so many seconds, which do not count towards `budget.trial_seconds`. Raises Ended."""


def with_room(session: Session, work: Callable[[], Made], seconds: float = math.inf) -> Made:
    """Do `work`, which writes to the disk; while that is full, wait and do it again.

    Args:
        session: Its log says why it waits.
        work: It leaves nothing behind when it fails.
        seconds: How long to wait in all; then the error is raised.

    Returns:
        What `work` returned.

    Raises:
        Ended: The assignment is to end now.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return work()
        except Exception as error:
            problem = disk_problem(error, session.folder)
            if problem is None or seconds <= 0:
                raise
            if pause == FIRST_PAUSE_SECONDS:
                session.log(f"{problem} It waits for room.")
        session.hold(min(pause, seconds))
        seconds -= pause
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
