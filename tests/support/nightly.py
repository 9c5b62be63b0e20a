"""A schedule whose clock a test moves from one due time to the next."""

from datetime import datetime
from typing import Any

import httpx

from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.harness import INSPECTION, Running, ScriptedWorker, spec

BETTER = {"gained": 12, "lost": 2, "challenger": {"accuracy": 0.9, "loss": 0.3}}


def template(**changes: Any) -> dict[str, Any]:
    """Return the spec of a schedule's studies, with top-level keys replaced."""
    return {key: value for key, value in spec(**changes).items() if key != "name"} | {"budget": {"trials": 3}}


def schedule(**changes: Any) -> dict[str, Any]:
    """Return a schedule that is due every minute and trains the best two configurations twice more."""
    promote = {"candidates": 2, "seeds": 2}
    return {"name": "nightly", "cron": "* * * * *", "study": template(), "promote": promote} | changes


class Nightly:
    """A schedule whose clock is moved from one due time to the next."""

    def __init__(self, house: Running, worker: ScriptedWorker, **changes: Any) -> None:
        self.house, self.worker, self.inspection = house, worker, INSPECTION
        answer = house.client.post("/v1/schedules", json=schedule(**changes))
        assert answer.status_code == 201, answer.text
        self.now = datetime.fromisoformat(answer.json()["next"][0]).timestamp() - 60

    def data(self, fingerprint: str) -> None:
        """Let workers find other data from now on."""
        self.worker.inspection = self.inspection.model_copy(update={"fingerprint": fingerprint * 64})

    def due(self, minutes: int = 1) -> None:
        self.now += 60 * minutes
        self.house.tick(self.now)

    def settle(self) -> None:
        """Work until nothing is left to do, for workers or for the schedule."""
        for _ in range(20):
            self.worker.drain()
            self.house.tick(self.now)
            if all(run["state"] != "running" for run in self.runs()):
                return
        raise AssertionError(f"it never ends: {self.runs()[0]}")

    def run(self, fingerprint: str) -> dict[str, Any]:
        """Fire the next due time, on this data, and run it to its end."""
        self.data(fingerprint)
        self.due()
        self.settle()
        return self.runs()[0]

    def until_compared(self, fingerprint: str) -> Assignment:
        """Fire the next due time, on this data, and work until its winner is to be compared."""
        self.data(fingerprint)
        self.due()
        while True:
            self.house.tick(self.now)
            while (a := self.worker.claim()) is not None:
                if a.kind is AssignmentKind.COMPARE:
                    return a
                self.worker.work(a)

    def trigger(self) -> httpx.Response:
        """Have it run now; a second later where a due time lies within this second, whose run has the same name."""
        answer = self.house.client.post("/v1/schedules/nightly/trigger")
        if answer.status_code == 409:
            self.house.move_clock(1.1)
            answer = self.house.client.post("/v1/schedules/nightly/trigger")
        return answer

    def runs(self) -> list[dict[str, Any]]:
        return list(self.house.get("/v1/schedules/nightly/runs?limit=500")["items"])

    def view(self) -> dict[str, Any]:
        return self.house.get("/v1/schedules/nightly")

    def champion(self) -> bytes:
        answer = self.house.client.get("/v1/schedules/nightly/champion")
        assert answer.status_code == 200, answer.text
        return answer.content
