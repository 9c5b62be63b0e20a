"""Workers that lack the data after a good inspection, as tests of the service script them."""

from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.scripted_worker import ScriptedWorker

GONE = "data/sms.csv does not exist on this worker; check the path (/data/sms.csv)."


def say_away(worker: ScriptedWorker, a: Assignment) -> None:
    """Give an assignment back as a worker does that lacks the data."""
    worker.finish(a, "failed", reason="away", problem={"message": GONE, "path": ["dataset", "source"]}, seconds=0.1)


def work_until(worker: ScriptedWorker, kind: AssignmentKind) -> Assignment:
    """Work until an assignment of this kind comes, and return it."""
    while (a := worker.claim()) is not None:
        if a.kind is kind:
            return a
        worker.work(a)
    raise AssertionError(f"no {kind} came")
