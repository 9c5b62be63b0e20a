"""Workers of the soak that train nothing: they repeat each message until the service has taken it.

`soak.py` starts them. What they send about a poisoned study no real worker would send.
"""

import contextlib
import http.client
import itertools
import json
import random
import threading
import time
from typing import Any

from overhead import INSPECTION, REPORTS, score

POISON_SECONDS = 2.0  # that a trial of a poisoned study takes
LONGEST_WAIT = 5.0  # seconds that a claim waits


class Load:
    """Workers that take whatever the service hands out, and the times at which healthy trials ended."""

    def __init__(self, base: str, workers: int, rate: float) -> None:
        """Start the workers, each at most `rate` trials a second."""
        self.base = base
        self.pause = 1 / rate
        self.ended: list[float] = []
        self.repeats = 0
        self.refused: dict[str, int] = {}
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._work, args=(f"w{i}",)) for i in range(workers)]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Let every worker end its trial, and wait for it."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def longest_pause(self, start: float, end: float) -> float:
        """Return the longest time in seconds without an ended trial between two instants."""
        times = [start, *sorted(at for at in self.ended if start < at < end), end]
        return max(b - a for a, b in itertools.pairwise(times))

    def _work(self, name: str) -> None:
        while not self.stopping.is_set():
            assignment = self._call("claim", {"worker": name, "wait_seconds": LONGEST_WAIT})
            if assignment:
                self._train(assignment)
                time.sleep(self.pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def _train(self, assignment: dict[str, Any]) -> None:
        """Do one assignment; a trial of the poisoned study sends what no worker would."""
        held = {"id": assignment["id"], "token": assignment["token"]}
        if assignment["kind"] != "train":
            outcome = {"inspection": INSPECTION} if assignment["kind"] == "inspect" else {}
            end = {"status": "complete"} if outcome else {"status": "failed", "reason": "error"}
            self._call("finish", held | end | outcome)
            return
        if assignment["study"].startswith("poison"):
            time.sleep(POISON_SECONDS)  # the oldest studies come first: else they would take every worker
        poison = assignment["study"] == "poison-numbers"
        absurd: dict[str, Any] = {"seconds": 1.7e308, "peak_memory_bytes": 2**62} if poison else {}
        decisions = []
        for step in range(1, REPORTS + 1):
            metrics = {"accuracy": 1e308 if poison else score(assignment["params"], step)}
            report = held | {"step": step, "metrics": metrics, "log": f"step {step}\n"} | absurd
            decisions.append(self._call("report", report) or {"decision": "continue"})
        pruned = any(answer["decision"] == "prune" for answer in decisions)
        end = {"status": "pruned" if pruned else "complete"}
        if poison:
            end = {"status": "failed", "reason": "error", "problem": {"message": "x" * 100_000}} | absurd
        self._call("finish", held | end)
        if not assignment["study"].startswith("poison"):
            self.ended.append(time.monotonic())

    def _call(self, request: str, body: dict[str, Any]) -> Any:
        """Send a message until it is taken; return the answer's JSON, or None where there is none or it is refused."""
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, text = self._post(request, body)
                if status < 400:
                    return json.loads(text) if text else None
                if status < 500:
                    key = f"{request} {status}"
                    self.refused[key] = self.refused.get(key, 0) + 1
                    if request == "finish" and status == 422:  # an outcome that says too much: give the work up
                        self._call("finish", {"id": body["id"], "token": body["token"], "status": "failed"})
                    return None
            self.repeats += 1
            time.sleep(0.5)
            if request == "claim" and self.stopping.is_set():
                return None

    def _post(self, request: str, body: dict[str, Any]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.base.removeprefix("http://"), timeout=120)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"/v1/worker/{request}", json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
