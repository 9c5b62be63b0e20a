"""The child's end of the socket to its worker: messages, the session of an assignment, and its log.

`child.__main__` opens it. It knows nothing of torch or of what an assignment asks for.
"""

import contextlib
import logging
import math
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from luthier.studies.protocol import Decision
from luthier.studies.wire import Metrics
from luthier.trials.child.messages import Decided, Evaluated, FromChild, Held, Logged, Start, encode, to_child
from luthier.trials.errors import Ended
from luthier.trials.files import file_ref
from luthier.trials.training.micro_batch import MicroBatch

DECISION_SECONDS = 5.0  # how long a report waits for the decision on the one before
HELD_SECONDS = 1.0  # of a longer wait for a decision, which are no time of the trial
ENDINGS = {Decision.PRUNE, Decision.STOP, Decision.CANCEL}


class WorkerConnection:
    """The socket to the worker. Any thread may send; a thread of its own receives.

    Assignments that arrive are put into `inbox`, decisions are handed to `session`. When the socket closes, this
    process and everything it started are killed.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()
        self.inbox: queue.SimpleQueue[Start] = queue.SimpleQueue()
        self.session: PipedSession | None = None  # of the running assignment
        threading.Thread(target=self._receive, daemon=True, name="worker").start()

    def send(self, message: FromChild) -> None:
        """Send a message. Takes the connection's lock.

        Raises:
            OSError: The worker has closed the socket.
        """
        with self._sending:
            self._socket.sendall(encode(message))

    def _receive(self) -> None:
        try:
            with self._socket.makefile("rb") as lines:
                for line in lines:
                    message = to_child(line)
                    if isinstance(message, Start):
                        self.inbox.put(message)
                    elif self.session is not None:
                        self.session.decide(message)
        finally:
            kill_group()


class PipedSession:
    """An assignment's session with its worker: `luthier.trials.session.Session` over the socket.

    Args:
        assignment: The assignment's id.
        folder: The folder of its files.
        connection: The socket to the worker.
        micro_batch: The number of examples that fit in memory together; every report holds it.
    """

    def __init__(self, assignment: int, folder: Path, connection: WorkerConnection, micro_batch: MicroBatch) -> None:
        self.folder = folder
        self._assignment = assignment
        self._connection = connection
        self._micro_batch = micro_batch
        self._changed = threading.Condition()
        self._reported = 0  # the last step that was reported
        self._decided = 0  # the last step whose decision has come
        self._ending: Decision | None = None
        self._pauses = False  # the decision on the last step

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
        """Send one evaluation; see `Session.report`. Numbers that are not finite are sent as None."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._decided >= self._reported or self._ending is not None, DECISION_SECONDS
            )
        self.poll()
        evaluated = Evaluated(
            step=step,
            metrics={name: finite(value) for name, value in metrics.items()},
            resume=file_ref(resume) if resume else None,
            best=file_ref(best) if best else None,
            examples_per_second=finite(examples_per_second),
            peak_memory_bytes=peak_memory_bytes,
            micro_batch=self._micro_batch.limit,
        )
        self._reported = step
        self._connection.send(evaluated)

    def decided(self) -> Decision:
        """Wait for the decision on the last evaluation; see `Session.decided`."""

        def has_come() -> bool:
            return self._decided >= self._reported or self._ending is not None

        with self._changed:
            came = self._changed.wait_for(has_come, DECISION_SECONDS)
        while not came:  # the service is away
            self._connection.send(Held(seconds=HELD_SECONDS))
            with self._changed:
                came = self._changed.wait_for(has_come, HELD_SECONDS)
        self.poll()
        return Decision.PAUSE if self._pauses else Decision.CONTINUE

    def poll(self) -> None:
        """Raise Ended if a decision to end the assignment has arrived."""
        if self._ending is not None:
            raise Ended(self._ending)

    def log(self, text: str) -> None:
        """Add a line to the assignment's log."""
        self._connection.send(Logged(text=storable(text)))

    def hold(self, seconds: float) -> None:
        """Wait for room on the disk, and let the worker know; see `Session.hold`."""
        self._connection.send(Held(seconds=seconds))
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.poll()
            with self._changed:
                self._changed.wait_for(lambda: self._ending is not None, left)
        self.poll()

    def decide(self, message: Decided) -> None:
        """Take the service's decision; called by the receiving thread. A decision on another assignment is ignored."""
        if message.id != self._assignment:
            return
        with self._changed:
            if message.step is not None:
                self._decided = max(self._decided, message.step)
                self._pauses = message.decision is Decision.PAUSE
            if message.decision in ENDINGS:
                self._ending = message.decision
            self._changed.notify_all()


class SessionLog(logging.Handler):
    """Sends warnings of libraries to the running assignment's log, or to standard error when none runs."""

    def __init__(self, connection: WorkerConnection) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, formatted as a line."""
        session = self._connection.session
        if session is None:
            with contextlib.suppress(OSError):  # the disk of the worker's log is full
                print(self.format(record), file=sys.stderr)
        else:
            session.log(self.format(record))


def kill_group() -> None:
    """Kill this process and everything it started."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def storable(text: str) -> str:
    """Return `text` without lone surrogates (of odd file names) and NUL, which JSON or a database cannot hold."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def finite(value: float | None) -> float | None:
    """Return `value`, or None for NaN and the infinities."""
    return value if value is not None and math.isfinite(value) else None
