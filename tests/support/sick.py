"""Workers that fail, as tests of the service script them."""

from typing import Any

from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.harness import Running, ScriptedWorker

BROKEN = "CUDA error: an illegal memory access was encountered."


def fail(worker: ScriptedWorker, a: Assignment, reason: str | None = "error", text: str = BROKEN) -> None:
    """Fail at an assignment; without a reason its child process has died."""
    outcome: dict[str, Any] = {"problem": {"message": text}, "seconds": 0.5}
    worker.finish(a, "lost" if reason is None else "failed", **outcome | ({} if reason is None else {"reason": reason}))


def listed(house: Running, name: str = "w1") -> dict[str, Any]:
    """Return what the service says of a worker."""
    workers = {worker["name"]: worker for worker in house.get("/v1/workers")["items"]}
    return dict(workers[name])


def inspected(house: Running, worker: ScriptedWorker, *names: str, **changes: Any) -> None:
    """Create studies and inspect them; no trial of them is drawn yet."""
    for name in names:
        house.create(name, **changes)
        worker.inspect(worker.take(AssignmentKind.INSPECT))


def take_of(worker: ScriptedWorker, name: str) -> Assignment:
    """Claim until a trial of this study comes, give others back, and return it."""
    for _ in range(9):
        a = worker.take()
        if a.study == name:
            return a
        worker.finish(a, "released")
    raise AssertionError(f"no trial of {name} came")
