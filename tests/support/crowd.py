"""Workers that wait for work, each in a thread, and those that hang up while they wait."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from luthier.studies.protocol import Assignment
from tests.support.harness import Running
from tests.support.scripted_worker import ScriptedWorker
from tests.support.waiting import until

WAIT_SECONDS = 60.0  # the longest that a claim may wait: whoever is not woken makes its test fail


class Waiting:
    """A worker whose claim waits, in a thread of its own."""

    def __init__(self, house: Running, name: str, gpu: dict[str, Any] | None = None) -> None:
        self.worker: ScriptedWorker = house.worker(name, gpu)
        self.found: Assignment | None = None
        self._thread = threading.Thread(target=self._claim, daemon=True)
        self._thread.start()

    def _claim(self) -> None:
        with suppress(Exception):  # the test's end closes the client of a claim that still waits
            self.found = self.worker.claim(WAIT_SECONDS)


def waiting(house: Running, count: int, gpu: dict[str, Any] | None = None, prefix: str = "idle") -> list[Waiting]:
    """Return so many workers, all of which wait by now."""
    crowd = [Waiting(house, f"{prefix}-{i}", gpu) for i in range(count)]
    names = {one.worker.name for one in crowd}
    line = house.app.state.service.line
    until(lambda: names <= {place.claim.worker for place in list(line._line)}, 30)
    return crowd


def found(crowd: list[Waiting], count: int, seconds: float = 30.0) -> list[Waiting]:
    """Return those of a crowd that were handed work, once there are so many."""
    until(lambda: sum(one.found is not None for one in crowd) >= count, seconds)
    return [one for one in crowd if one.found is not None]


@contextmanager
def waiting_until_hung_up(house: Running, name: str, gpu: dict[str, Any]) -> Iterator[None]:
    """A worker's claim waits in this block; at its end the worker closes the connection."""
    connection = http.client.HTTPConnection(urlsplit(house.url).netloc)
    body = json.dumps({"worker": name, "wait_seconds": WAIT_SECONDS, "gpu": gpu})
    with closing(connection):
        connection.request("POST", "/v1/worker/claim", body, {"Content-Type": "application/json"})
        yield
