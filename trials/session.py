"""What fine-tuning code may ask of the worker around it: a place for files, a report, a log line.

The child process implements it over its pipe to the parent (`luthier.trials.child`); tests implement it in memory.
"""

from pathlib import Path
from typing import Protocol

from luthier.studies.wire import Metrics


class Session(Protocol):
    """One assignment's line to its worker."""

    folder: Path  # where this assignment's files are read from and written to

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
        """Send one evaluation, once the decision on the one before has come: what an evaluation led to never depends on
        how long the service took. Waits for it briefly only: a service that is away stops nothing.

        The decision on this one comes while training goes on; `poll` and the next report raise it.

        `resume` and `best` are whole files in `folder`, under names that no other evaluation or attempt uses: they
        may be sent much later. Raises Ended when the trial is to end now.
        """

    def poll(self) -> None:
        """Raise Ended if a decision to end has arrived meanwhile. Cheap: call it every few optimizer steps."""

    def log(self, text: str) -> None:
        """Add a line to the trial's log."""
