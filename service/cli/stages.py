"""The stage of a wait: what a command that has nothing to show yet is waiting for, on stderr.

On a terminal it is a line that is redrawn and then taken away; else a line for each new stage.
"""

import sys
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from luthier.service.cli.output import console, duration

if TYPE_CHECKING:
    from luthier.service.client import Client
    from luthier.service.schemas import WorkerView

LOOK_SECONDS = 0.5
OPENING = "a worker opens model and data, checks both, and tries a few steps"
PLANS = "plan:"  # how the names of plans begin, which are studies until they are answered


def stage_of(workers: Iterable["WorkerView"], study: str) -> str:
    """Return what a study, or a plan, that is not inspected yet waits for.

    Args:
        workers: all that the service knows.
        study: its name; PLANS for a plan.
    """
    here = [worker for worker in workers if worker.state != "away"]
    studies = [worker.study or "" for worker in here]
    if study in studies or (study == PLANS and any(name.startswith(PLANS) for name in studies)):
        return OPENING
    if any(worker.state == "idle" for worker in here):
        return "a worker is there, and takes the work up"
    if here and all(worker.state == "quarantined" for worker in here):
        return "all workers are in quarantine; `luthier fleet` says why"
    return "the workers are busy with other trials" if here else "a worker starts"


class Waiting:
    """A context manager that shows the stage of a wait until it ends."""

    def __init__(self, stage: str) -> None:
        """Take the first stage, as a clause; nothing is shown yet."""
        self._stage = stage
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._watch: threading.Thread | None = None
        self._status = console(sys.stderr).status(self._line()) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        """Show the first stage."""
        if self._status is not None:
            self._status.start()
        else:
            self._print()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the line away."""
        self.end()

    def end(self) -> None:
        """Take the line away; a second call does nothing."""
        self._ended.set()
        if self._status is not None:
            self._status.stop()

    def watch(self, client: "Client", study: str) -> None:
        """Look every LOOK_SECONDS, in a thread, what `study` (PLANS for a plan) waits for."""
        self._watch = threading.Thread(target=self._look, args=(client, study), name="stages", daemon=True)
        self._watch.start()

    def _look(self, client: "Client", study: str) -> None:
        from luthier.service.client import ServiceError

        while not self._ended.wait(LOOK_SECONDS):
            try:
                stage = stage_of(client.workers(), study)
            except (ServiceError, RuntimeError):  # away for a moment; or the client was closed in the meantime
                continue
            if self._ended.is_set():
                return
            if self._stage == OPENING:  # a plan has no later stage: its answer is on the way
                stage = OPENING
            is_new, self._stage = stage != self._stage, stage
            if self._status is not None:
                self._status.update(self._line())
            elif is_new:
                self._print()

    def _line(self) -> str:
        return f"{self._stage} ({duration(time.monotonic() - self._began)})"

    def _print(self) -> None:
        print(f"[{duration(time.monotonic() - self._began)}] {self._stage}", file=sys.stderr, flush=True)
