"""A service with something of everything, and a worker that goes on, while schemathesis talks to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier.service.server.app import Tokens
from luthier.service.server.timings import Timings
from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support import external
from tests.support.harness import Running, ScriptedWorker, Stale, running, spec
from tests.support.nightly import schedule

# Streams of events end at once; a start of a schedule is looked for often.
TIMINGS = Timings(scheduler_seconds=0.5, event_look_seconds=0.02, event_stream_seconds=0.05)


@contextmanager
def populated(home: Path, url: str | None, tokens: Tokens | None) -> Iterator[Running]:
    """Run a service with studies that have ended, wait and are external, and a schedule; a worker does the rest."""
    with running(home, url, tokens, TIMINGS) as house:
        house.finished("done", budget={"trials": 2})
        _fill(house)
        ended = threading.Event()
        thread = threading.Thread(target=_work, args=(house, ended), daemon=True)
        thread.start()
        try:
            yield house
        finally:
            ended.set()
            thread.join(30)


def _fill(house: Running) -> None:
    """Create what is not there, or not there any more."""
    for body in (external.document(), spec("done", budget={"trials": 2}), spec("going", budget={"trials": 10_000})):
        house.client.post("/v1/studies", json=body)
    house.client.post("/v1/schedules", json=schedule())
    house.client.post("/v1/datasets", files={"file": ("a.csv", b"text,label\na,1\nb,2\n")})


def _do(worker: ScriptedWorker, assignment: Assignment) -> None:
    """Do an assignment, or fail it where its table is none."""
    try:
        worker.work(assignment)
    except ValueError:
        worker.finish(assignment, "failed", reason="bad_data", problem={"message": "This is no table."})


def _work(house: Running, ended: threading.Event) -> None:
    """Do what waits, but leave trials of `going` to whoever claims them, until `ended` is set."""
    worker = house.worker("steady")
    while not ended.wait(0.3):
        try:
            while (assignment := worker.claim()) is not None:
                if assignment.study == "going" and assignment.kind is AssignmentKind.TRAIN:
                    worker.finish(assignment, "released")
                    break
                _do(worker, assignment)
            _fill(house)
        except (Stale, AssertionError):  # a request of the fuzzer took its work away, as it may
            continue
