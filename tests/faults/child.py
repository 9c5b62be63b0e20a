"""A child that trains by formula, and does wrong when it is told to: the real message loop of a worker's child.

A fault puts a file into the folder that LUTHIER_FAULTS_MISCHIEF names; whichever child comes first takes it away, and
does what its name says.

leak      keeps 300 MB
hang      is in one call of C, with Python's lock held, for as many seconds as the file says
stubborn  ignores SIGTERM, and hangs in C
gobble    enters the memory cgroup that the file names, and takes more than it allows: the kernel kills it
refuse    limits its own memory, and takes more: a MemoryError
"""

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.studies.results import Evaluation, Inspection
from luthier.studies.wire import FileRef
from luthier.trials.child import __main__ as run
from luthier.trials.errors import DamagedFile
from luthier.trials.files import file_ref
from luthier.trials.session import Session, with_room
from luthier.trials.training.micro_batch import MicroBatch
from tests.support.scripted_worker import INSPECTION, model_archive, score

MISCHIEF = Path(os.environ.get("LUTHIER_FAULTS_MISCHIEF", "/nowhere"))
STEP_SECONDS = 0.1
LEAK_BYTES, GOBBLE_BYTES = 300 * 2**20, 600 * 2**20
KINDS = ("leak", "hang", "stubborn", "gobble", "refuse")


def misbehave(warm: SimpleNamespace) -> None:
    """Do what the next file says, if there is one."""
    for kind in KINDS:
        taken = MISCHIEF / f"{kind}.taken-{os.getpid()}"
        try:
            (MISCHIEF / kind).rename(taken)
        except OSError:
            continue
        act(kind, taken.read_text(), warm)


def act(kind: str, told: str, warm: SimpleNamespace) -> None:
    """Do one wrong thing."""
    match kind:
        case "leak":
            warm.leaked.append(b"x" * LEAK_BYTES)
        case "hang":
            ctypes.PyDLL(None).usleep(int(float(told) * 1e6))
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            ctypes.PyDLL(None).sleep(600)
        case "gobble":
            (Path(told) / "cgroup.procs").write_text(str(os.getpid()))
            warm.leaked.append(b"x" * GOBBLE_BYTES)
            time.sleep(60)  # where the kernel only throttles
        case "refuse":
            limits = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (LEAK_BYTES, limits[1]))
            try:
                warm.leaked.append(b"x" * GOBBLE_BYTES)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)


def train(assignment: Assignment, session: Session, warm: SimpleNamespace) -> SimpleNamespace:
    """Report an evaluation for each epoch that is left."""
    checkpoint, params = assignment.checkpoint, assignment.params
    first, best_value = checkpoint.step, checkpoint.best_value
    if any(not is_whole(session.folder, ref) for ref in (checkpoint.resume, checkpoint.best)):
        first, best_value = 0, None  # as the product's own: an attempt whose files are damaged starts over
    ended = {"reason": None, "examples_per_second": 12.5, "peak_memory_bytes": 99}
    last = int(params["epochs"]) * assignment.spec.evaluations_per_epoch
    for step in range(first + 1, last + 1):
        until = time.monotonic() + STEP_SECONDS
        while time.monotonic() < until:
            session.poll()
            time.sleep(0.01)
        misbehave(warm)
        value = score(params, step)
        resume, best = (session.folder / f"a{assignment.attempt}-s{step}.{role}" for role in ("resume", "best"))
        with_room(session, lambda path=resume, step=step: path.write_bytes(b"resume %d" % step * 100))
        if best_value is None or value > best_value:
            best_value = value
            with_room(session, lambda path=best, step=step: path.write_bytes(b"weights %d" % step * 100))
        metrics = {"accuracy": value, "loss": 0.1}
        waits = step in assignment.spec.rungs and step < last and assignment.kind is AssignmentKind.TRAIN
        sent = None if waits else resume  # a worker elsewhere removes what it has sent
        session.report(step=step, metrics=metrics, resume=sent, best=best if best.exists() else None)
        if waits and session.decided() is Decision.PAUSE:
            return SimpleNamespace(status="paused", resume=resume, **ended)
    return SimpleNamespace(status="complete", resume=None, **ended)


def is_whole(folder: Path, ref: FileRef | None) -> bool:
    """Return whether a file is what the row says; where it names none, nothing is missing."""
    return ref is None or ((folder / ref.name).exists() and file_ref(folder / ref.name) == ref)


def inspect(assignment: Assignment, session: Session, warm: object) -> Inspection:
    """Return an inspection that is the same for every model and data set."""
    return INSPECTION


def evaluate(assignment: Assignment, session: Session, warm: object) -> Evaluation:
    """Pack the winner's weights and return fixed scores."""
    ref = assignment.checkpoint.best
    assert ref is not None
    path = session.folder / ref.name
    if not is_whole(session.folder, ref):
        raise DamagedFile(f"{ref.name} is missing or damaged.")
    model = session.folder / "model.tar.gz"
    with_room(session, lambda: model.write_bytes(model_archive(path.read_bytes(), assignment.provenance)))
    return Evaluation(test={"accuracy": 0.75}, model=file_ref(model))


def prepare() -> tuple[dict[AssignmentKind, object], SimpleNamespace]:
    """Return the three functions above, as a child that has imported torch returns its own."""
    jobs = {
        AssignmentKind.TRAIN: train,
        AssignmentKind.CONFIRM: train,
        AssignmentKind.INSPECT: inspect,
        AssignmentKind.EVALUATE: evaluate,
    }
    return jobs, SimpleNamespace(leaked=[], micro_batch=MicroBatch())


if __name__ == "__main__":
    run.serve(int(sys.argv[1]), prepare)  # type: ignore[arg-type]
