"""The child process: `python -m luthier.trials.child FD` does assignments from the socket FD.

A worker starts it and keeps it warm: models and data stay in `ModelCache` between assignments. It does one assignment
at a time, never speaks to the service, and ends with its worker.
"""

import gc
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from luthier.studies.protocol import TRAINING, Assignment, AssignmentKind, DataProblem, Decision, Reason
from luthier.studies.results import Comparison, Evaluation, Inspection, OnnxExport, Prediction
from luthier.studies.text import one_line
from luthier.trials.child.connection import PipedSession, SessionLog, WorkerConnection, finite, storable
from luthier.trials.child.messages import End, Ready, Result, Unfit
from luthier.trials.errors import Away, BadData, CannotWork, DamagedFile, Ended, NotReproduced
from luthier.trials.files import disk_problem, file_ref, size_problem
from luthier.trials.memory import give_back_gpu_memory, limit_gpu_memory, out_of_memory, resident_bytes, told_limit
from luthier.trials.paths import set_project, set_uploaded
from luthier.trials.session import Session, with_room

HOLD_SECONDS = 600.0
"""How long work waits for a disk that is full: after that a trial is given back, and other work fails with a sentence.
Checkpoints wait longer, for as long as it takes (`CheckpointWriter`)."""

if TYPE_CHECKING:  # at run time `prepare` imports them, with torch
    from luthier.trials.jobs.train import Finished
    from luthier.trials.training.model_cache import ModelCache

    Product = Inspection | Finished | Evaluation | Comparison | Prediction | OnnxExport
    Job = Callable[[Assignment, Session, ModelCache], Product]
    Jobs = Mapping[AssignmentKind, Job]


def serve(descriptor: int, prepare: "Callable[[], tuple[Jobs, ModelCache]]") -> NoReturn:
    """Do the assignments that arrive over a socket, one after another, until the socket closes.

    Args:
        descriptor: The socket's file descriptor.
        prepare: Imports the libraries; returns the function for each kind of assignment, and the cache that each
            call of one gets. When it raises CannotWork, the worker is told and the process exits.
    """
    inherited = socket.socket(fileno=descriptor)
    inherited.set_inheritable(False)
    connection = WorkerConnection(inherited)
    try:
        jobs, warm = prepare()
    except CannotWork as problem:
        connection.send(Unfit(problem=str(problem)))
        sys.exit(1)
    _send_logs(connection)
    connection.send(Ready())
    while True:
        start = connection.inbox.get()
        session = PipedSession(start.assignment.id, Path(start.folder), connection, warm.micro_batch)
        connection.session = session
        set_project(start.assignment.project)
        set_uploaded(start.datasets)
        result, replace = perform(jobs[start.assignment.kind], start.assignment, session, warm)
        connection.session = None
        gc.collect()
        give_back_gpu_memory()
        connection.send(End(result=result, replace=replace, resident_bytes=resident_bytes()))


def prepare() -> "tuple[Jobs, ModelCache]":
    """Import the jobs and torch; takes seconds, during which the worker waits for an assignment.

    Returns:
        The function for each kind of assignment, and an empty cache.

    Raises:
        CannotWork: A library is missing, or torch cannot use the GPU that the worker was given.
    """
    gc.disable()  # imported modules stay: the garbage collector would take a tenth of the time
    try:
        from luthier.trials.jobs.compare import compare
        from luthier.trials.jobs.evaluate import evaluate
        from luthier.trials.jobs.inspect import inspect
        from luthier.trials.jobs.onnx_export import export_onnx
        from luthier.trials.jobs.predict import predict
        from luthier.trials.jobs.train import train
        from luthier.trials.training.model_cache import ModelCache
    except ModuleNotFoundError as error:
        raise CannotWork(
            f"A worker needs {error.name}, which is not installed: pip install 'luthier[worker]'"
        ) from None
    check_gpu(os.environ.get("LUTHIER_GPU"))
    gc.enable()
    gc.collect()
    gc.freeze()  # the libraries' own objects: to collect them after each assignment takes a fifth of a second
    jobs: Jobs = {
        AssignmentKind.INSPECT: inspect,
        AssignmentKind.EVALUATE: evaluate,
        AssignmentKind.COMPARE: compare,
        AssignmentKind.PREDICT: predict,
        AssignmentKind.ONNX: export_onnx,
        **dict.fromkeys(TRAINING, train),
    }
    return jobs, ModelCache()


def check_gpu(given: str | None) -> None:
    """Check that torch can use the GPU that the worker was given; else training would run on the CPU unnoticed.

    Args:
        given: The GPU's name, for the message; None when the worker was given none.

    Raises:
        CannotWork: torch finds no GPU. The message says why, and the cure.
    """
    import torch

    if not given or torch.cuda.is_available():
        return
    if torch.version.cuda is None:
        why, cure = "is a build for the CPU", "Install a build for CUDA (PyTorch's install page names it)"
    else:
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
            why = "finds none"
        except RuntimeError as error:
            why = f"cannot use it: {one_line(error).rstrip('.')}"
        cure = f"Update the NVIDIA driver, or install a torch for an older CUDA than {torch.version.cuda}"
    raise CannotWork(
        f"This worker was given a GPU ({given}), but its torch {torch.__version__} {why}. {cure}; or train on the CPU: "
        "`luthier worker --gpu cpu`, or CUDA_VISIBLE_DEVICES= (empty) before `luthier serve` or `luthier run`."
    )


def perform(job: "Job", assignment: Assignment, session: Session, warm: "ModelCache") -> tuple[Result, bool]:
    """Do one assignment. Every error becomes a result; unexpected errors are written to the session's log.

    Args:
        job: The function for the assignment's kind.
        assignment: The assignment.
        session: The assignment's session with the worker.
        warm: The cache that stays between assignments.

    Returns:
        The result, and whether this process should be replaced, because it ran out of memory.
    """
    replace = False
    try:
        limit_gpu_memory(assignment.memory_bytes)
        result = _result(with_room(session, lambda: job(assignment, session, warm), HOLD_SECONDS))
    except Ended as ended:  # the result of a cancelled assignment is not used
        if ended.decision is Decision.STOP:
            result = Result(status="complete", reason=Reason.BUDGET)
        else:
            result = Result(status="pruned")
    except BadData as error:
        away = isinstance(error, Away) and assignment.inspection is not None
        if away:
            cause = "" if error.__cause__ is None else traceback.format_exc()
            session.log(f"{cause}{error.message} The work is given back.")
        result = _failed(Reason.AWAY if away else Reason.BAD_DATA, error.message, error.path)
    except DamagedFile as damage:
        result = _failed(Reason.DAMAGED, str(damage))
    except NotReproduced as difference:
        result = _failed(Reason.ERROR, str(difference))
    except Exception as error:
        session.log(traceback.format_exc())
        replace = out_of_memory(error)
        full = disk_problem(error, session.folder)
        large = size_problem(error)
        text = full or large or f"{type(error).__name__}: {one_line(error, None)}"[:1000]
        reason = Reason.OOM if replace else Reason.DISK if large else Reason.ERROR
        result = _failed(reason, text + told_limit(error) if replace else text)
        if full is not None and assignment.kind in TRAINING:  # no fault of the trial's
            result = Result(status="released", problem=result.problem)
    if result.status != "failed":  # the last size before a failure need not have fitted
        result = result.model_copy(update={"micro_batch": warm.micro_batch.limit})
    return result, replace


def _result(product: "Product") -> Result:
    match product:
        case Inspection():
            return Result(status="complete", inspection=product)
        case Evaluation():
            return Result(status="complete", evaluation=product)
        case Comparison():
            return Result(status="complete", comparison=product)
        case Prediction():
            return Result(status="complete", prediction=product)
        case OnnxExport():
            return Result(status="complete", onnx=product)
    return Result(
        status=product.status,
        reason=product.reason,
        examples_per_second=finite(product.examples_per_second),
        resume=None if product.resume is None else file_ref(product.resume),
        peak_memory_bytes=product.peak_memory_bytes,
    )


def _failed(reason: Reason, message: str, path: list[str | int] | None = None) -> Result:
    return Result(status="failed", reason=reason, problem=DataProblem(message=storable(message), path=path or []))


def _send_logs(connection: WorkerConnection) -> None:
    """Send the libraries' logs and warnings to the worker; some libraries have set up their own handlers."""
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[SessionLog(connection)], format="%(levelname)s %(name)s: %(message)s", force=True)
    for name in ("transformers", "datasets", "huggingface_hub"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


if __name__ == "__main__":
    serve(int(sys.argv[1]), prepare)
