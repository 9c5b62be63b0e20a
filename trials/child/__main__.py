"""The child process: `python -m luthier.trials.child FD` does assignments that come over the socket FD, in turn.

What is worth keeping between assignments stays in `ModelCache`. The process ends with its worker: when the socket
closes, it and all it started are gone at once.
"""

import gc
import logging
import math
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from luthier.studies.protocol import TRAINING, Assignment, AssignmentKind, Decision, Outcome, Problem, Reason, Report
from luthier.studies.text import one_line
from luthier.studies.wire import Metrics
from luthier.trials.child.messages import (
    Decided,
    End,
    FromChild,
    Logged,
    Ready,
    Reported,
    Start,
    Unfit,
    encode,
    to_child,
)
from luthier.trials.errors import BadData, CannotWork, Ended
from luthier.trials.files import disk_problem, file_ref
from luthier.trials.memory import give_back_gpu_memory, limit_gpu_memory, out_of_memory

DECISION_SECONDS = 5.0  # a report waits so long for the decision on the one before, then training goes on
RESULTS = {
    AssignmentKind.INSPECT: "inspection",
    AssignmentKind.EVALUATE: "evaluation",
    AssignmentKind.COMPARE: "comparison",
}  # an outcome's fields
ENDINGS = {Decision.PRUNE, Decision.STOP, Decision.CANCEL}


class Line:
    """This end of the socket pair. Threads may send; one thread receives and feeds the inbox and the session."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._sending = connection, threading.Lock()
        self.inbox: queue.SimpleQueue[Start] = queue.SimpleQueue()
        self.session: PipedSession | None = None
        threading.Thread(target=self._receive, daemon=True, name="worker").start()

    def send(self, message: FromChild) -> None:
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
            vanish()


class PipedSession:
    """The assignment's line to its worker: `luthier.trials.session.Session` over the socket."""

    def __init__(self, assignment: Assignment, folder: Path, line: Line, warm: Any) -> None:
        self.folder = folder
        self._assignment, self._line, self._warm = assignment, line, warm
        self._changed = threading.Condition()
        self._reported = self._decided = 0  # the last steps that were reported, and whose decision has come
        self._ending: Decision | None = None

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
        with self._changed:
            self._changed.wait_for(
                lambda: self._decided >= self._reported or self._ending is not None, DECISION_SECONDS
            )
        self.poll()
        report = Report(
            id=self._assignment.id,
            token=self._assignment.token,
            step=step,
            metrics={name: _finite(value) for name, value in metrics.items()},
            resume=file_ref(resume) if resume else None,
            best=file_ref(best) if best else None,
            examples_per_second=_finite(examples_per_second),
            peak_memory_bytes=peak_memory_bytes,
            micro_batch=self._warm.micro_batch.limit,
        )
        self._reported = step
        self._line.send(Reported(report=report))

    def poll(self) -> None:
        if self._ending is not None:
            raise Ended(self._ending)

    def log(self, text: str) -> None:
        self._line.send(Logged(text=_clean(text)))

    def decide(self, message: Decided) -> None:
        """Take a decision, from the receiving thread."""
        if message.id != self._assignment.id:
            return
        with self._changed:
            if message.step is not None:
                self._decided = max(self._decided, message.step)
            if message.decision in ENDINGS:
                self._ending = message.decision
            self._changed.notify_all()


class SessionLog(logging.Handler):
    """Libraries' warnings go to the log of the assignment under way, else to standard error."""

    def __init__(self, line: Line) -> None:
        super().__init__(logging.WARNING)
        self._worker_line = line

    def emit(self, record: logging.LogRecord) -> None:
        session = self._worker_line.session
        if session is None:
            print(self.format(record), file=sys.stderr)
        else:
            session.log(self.format(record))


def serve(descriptor: int, prepare: Callable[[], tuple[dict[AssignmentKind, Callable[..., Any]], Any]]) -> NoReturn:
    """Do assignments as they come over the socket; `prepare` gives an entry per kind, and what stays warm."""
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    line = Line(connection)
    try:
        entries, warm = prepare()
    except CannotWork as problem:
        line.send(Unfit(problem=str(problem)))
        sys.exit(1)
    _logs_to(line)
    line.send(Ready())
    while True:
        start = line.inbox.get()
        session = line.session = PipedSession(start.assignment, Path(start.folder), line, warm)
        outcome, replace = perform(entries[start.assignment.kind], start.assignment, session, warm)
        line.session = None
        gc.collect()
        give_back_gpu_memory()
        line.send(End(outcome=outcome, replace=replace, resident_bytes=_resident_bytes()))


def prepare() -> tuple[dict[AssignmentKind, Callable[..., Any]], Any]:
    """Import what trains: seconds, spent while the worker waits for work. Returns an entry per kind, and a ModelCache.

    Raises CannotWork where a library is missing, or the GPU cannot be used that the worker was given.
    """
    gc.disable()  # what is imported stays: to look for garbage meanwhile takes a tenth of the time
    try:
        from luthier.trials.jobs.compare import compare
        from luthier.trials.jobs.evaluate import evaluate
        from luthier.trials.jobs.inspect import inspect
        from luthier.trials.jobs.train import train
        from luthier.trials.training.model_cache import ModelCache
    except ModuleNotFoundError as error:
        raise CannotWork(
            f"A worker needs {error.name}, which is not installed: pip install 'luthier[worker]'"
        ) from None
    check_gpu(os.environ.get("LUTHIER_GPU"))
    gc.enable()
    gc.collect()
    gc.freeze()  # the libraries' own: to look through it after each assignment would take a fifth of a second
    training = dict.fromkeys(TRAINING, train)
    return {
        AssignmentKind.INSPECT: inspect,
        AssignmentKind.EVALUATE: evaluate,
        AssignmentKind.COMPARE: compare,
        **training,
    }, ModelCache()


def check_gpu(given: str | None) -> None:
    """Raise CannotWork when the worker was given a GPU and torch cannot use it: training would go on on the CPU."""
    import torch

    if not given or torch.cuda.is_available():
        return
    if torch.version.cuda is None:
        why, cure = "is a build for the CPU", "Install a build for CUDA (PyTorch's install page names it)"
    else:
        try:
            torch.cuda.init()
            why = "finds none"
        except RuntimeError as error:
            why = f"cannot use it: {one_line(error).rstrip('.')}"
        cure = f"Update the NVIDIA driver, or install a torch for an older CUDA than {torch.version.cuda}"
    raise CannotWork(
        f"This worker was given a GPU ({given}), but its torch {torch.__version__} {why}. {cure}; or train on the CPU: "
        "`luthier worker --gpu cpu`, or CUDA_VISIBLE_DEVICES= (empty) before `luthier serve` or `luthier run`."
    )


def perform(
    entry: Callable[..., Any], assignment: Assignment, session: PipedSession, warm: Any
) -> tuple[Outcome, bool]:
    """Do one assignment; its outcome, and whether this process should be replaced after it."""
    fields: dict[str, Any] = {"status": "complete"}
    replace = False
    try:
        limit_gpu_memory(assignment.memory_bytes)
        result = entry(assignment, session, warm)
        if assignment.kind in TRAINING:
            fields = {
                "status": result.status,
                "reason": result.reason,
                "examples_per_second": _finite(result.examples_per_second),
                "peak_memory_bytes": result.peak_memory_bytes,
            }
        else:
            fields[RESULTS[assignment.kind]] = result
    except Ended as ended:  # a cancelled assignment's outcome goes nowhere
        if ended.decision is Decision.STOP:
            fields["reason"] = Reason.BUDGET
        else:
            fields["status"] = "pruned"
    except BadData as error:
        fields = _failed(Reason.BAD_DATA, error.message, error.path)
    except Exception as error:
        session.log(traceback.format_exc())
        replace = out_of_memory(error)
        text = disk_problem(error, session.folder) or _one_line(error)
        fields = _failed(Reason.OOM if replace else Reason.ERROR, text)
    if fields["status"] != "failed":  # what was tried last before a failure need not have fitted
        fields["micro_batch"] = warm.micro_batch.limit
    return Outcome(id=assignment.id, token=assignment.token, **fields), replace


def vanish() -> None:
    """End this process and all it started."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _failed(reason: Reason, message: str, path: list[str | int] | None = None) -> dict[str, Any]:
    return {"status": "failed", "reason": reason, "problem": Problem(message=_clean(message), path=path or [])}


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error, None)}"[:1000]


def _clean(text: str) -> str:
    """`text` without what neither JSON nor a database can hold: lone surrogates, as of odd file names, and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _resident_bytes() -> int | None:
    """What this process holds in memory now; None off Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _logs_to(line: Line) -> None:
    """Send what libraries log or warn about to the line; some have set up handlers of their own by now."""
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[SessionLog(line)], format="%(levelname)s %(name)s: %(message)s", force=True)
    for name in ("transformers", "datasets", "huggingface_hub"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


if __name__ == "__main__":
    serve(int(sys.argv[1]), prepare)
