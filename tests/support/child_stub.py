"""A child that trains nothing: the real message loop, with entries that follow the `params`.

act     ok | hang | die | oom | error | bad_data | full | exit | quiet (reports nothing until it is told to end) |
        deaf (for 2 s in one call of C, in which no other Python code of this process runs) |
        eat (memory, without end) | large (one file, without end) | files (of temporary data, without end)
steps   evaluations reported (default 1), `pause` seconds after each
waits   for the decision on each of them, and obeys one to pause
loss    of every evaluation (default NaN), and `scores` more of them
fits    examples that fit in memory together, as if more had not
sleeper starts a process of its own, whose number goes to this file
ended   the file that it makes after its last report
secrets writes to this file which tokens this process's memory holds, and the store's mark, which it does hold
"""

import ctypes
import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.studies.results import Evaluation, Inspection
from luthier.trials.child import __main__ as run
from luthier.trials.child import connection
from luthier.trials.errors import BadData, CannotWork
from luthier.trials.files import file_ref
from luthier.trials.session import Session
from luthier.trials.training.micro_batch import MicroBatch
from tests.support.coverage_data import save

# The first letters stand in brackets, so that the pattern does not match itself.
SECRETS = re.compile(rb"[l]ease-[0-9]+-secret|[t]he-workers-secret|[m]ark of another store")


def secrets_in_memory() -> list[str]:
    """Return every match of SECRETS in the writable memory of this process: its heap, its stack and its environment."""
    matches: set[bytes] = set()
    with Path("/proc/self/maps").open() as maps, Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in maps.read().splitlines():
            bounds, rights, *_ = line.split()
            if not rights.startswith("rw") or "[vv" in line:
                continue
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            memory.seek(start)
            try:
                matches.update(SECRETS.findall(memory.read(end - start)))
            except OSError:  # a region that was unmapped just now
                continue
    return sorted(match.decode() for match in matches)


def train(assignment: Assignment, session: Session, warm: SimpleNamespace) -> SimpleNamespace:
    """Report as many evaluations as `steps` says, then do what `act` says."""
    params = assignment.params
    act = str(params.get("act", "ok"))
    warm.done += 1
    warm.micro_batch.limit = params.get("fits")
    session.log(f"pid {os.getpid()} done {warm.done} cuda {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    if "sleeper" in params:
        sleeper = subprocess.Popen(["sleep", "600"])
        Path(str(params["sleeper"])).write_text(str(sleeper.pid))
    if "secrets" in params:
        Path(str(params["secrets"])).write_text("\n".join(secrets_in_memory()))
    if assignment.checkpoint.resume is not None:
        content = (session.folder / assignment.checkpoint.resume.name).read_bytes()
        session.log(f"resumed from {hashlib.sha256(content).hexdigest()}")
    for step in range(assignment.checkpoint.step + 1, int(params.get("steps", 1)) + 1):
        resume, best = (session.folder / f"a{assignment.attempt}-s{step}.{role}" for role in ("resume", "best"))
        resume.write_bytes(b"resume %d" % step * 1000)
        best.write_bytes(b"best %d" % step)
        metrics = {"accuracy": 0.5 + step / 100, "loss": float(params.get("loss", "nan"))}
        metrics |= {f"m{i}": 0.5 for i in range(int(params.get("scores", 0)))}
        session.report(step=step, metrics=metrics, resume=None if "waits" in params else resume, best=best)
        if "waits" in params and session.decided() is Decision.PAUSE:
            return SimpleNamespace(
                status="paused", reason=None, examples_per_second=1.0, peak_memory_bytes=9, resume=resume
            )
        until = time.monotonic() + float(params.get("pause", 0))
        while time.monotonic() < until:
            session.poll()
            time.sleep(0.01)
    if "ended" in params:
        Path(str(params["ended"])).touch()
    end_as(act, session)
    save()
    return SimpleNamespace(status="complete", reason=None, examples_per_second=12.5, peak_memory_bytes=99, resume=None)


def end_as(act: str, session: Session) -> None:
    """Hang, die or raise, as `act` says; return where it is "ok"."""
    match act:
        case "quiet":
            while True:
                session.poll()
                time.sleep(0.01)
        case "hang":
            print("this is no message", flush=True)
            time.sleep(600)
        case "deaf":
            ctypes.PyDLL(None).usleep(2_000_000)  # as the tokenizer of a huge text, with Python's lock held
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(7)
        case "oom":
            raise MemoryError("no more")
        case "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        case "bad_data":
            raise BadData("Column text is missing; name it in dataset.columns.", "dataset", "columns", "text")
        case "eat":
            eaten = []
            while True:
                eaten.append(bytearray(os.urandom(2**20)) * 16)
        case "large":
            with (session.folder / "large").open("wb") as file:
                while True:
                    file.write(b"x" * 2**20)
        case "files":
            for number in count():
                Path(tempfile.gettempdir(), f"{number}").write_bytes(b"x" * 2**18)
                time.sleep(0.01)
        case "error":
            raise ValueError("this went wrong \0 \udcff")


def inspect(assignment: Assignment, session: Session, warm: object) -> Inspection:
    """Return an inspection that is the same for every model and data set."""
    save()
    return Inspection(
        blocks=[], trainable_parameters=[1], label_names=["a", "b"], labels={"a": 1, "b": 1}, rows={}, fingerprint="f"
    )


def evaluate(assignment: Assignment, session: Session, warm: object) -> Evaluation:
    """Write a file in a model's place and return fixed scores."""
    model = session.folder / "model.tar.gz"
    model.write_bytes(b"packed" * 1_000_000)
    save()
    return Evaluation(test={"accuracy": 1.0}, model=file_ref(model))


def prepare() -> tuple[dict[AssignmentKind, Any], SimpleNamespace]:
    """Return the three functions above, as a child that has imported torch returns its own."""
    if os.environ.get("CHILD_CANNOT_START"):
        sys.exit("nothing to train with")
    if os.environ.get("CHILD_IS_UNFIT"):
        raise CannotWork("This worker was given a GPU, but its torch is a build for the CPU.")
    return {
        AssignmentKind.TRAIN: train,
        AssignmentKind.INSPECT: inspect,
        AssignmentKind.EVALUATE: evaluate,
    }, SimpleNamespace(done=0, micro_batch=MicroBatch())


if __name__ == "__main__":
    connection.DECISION_SECONDS = 0.3
    run.HOLD_SECONDS = 60.0 if os.environ.get("PATIENT") else 0.2
    run.serve(int(sys.argv[1]), prepare)
