"""A user's own trainer of an external study, over plain HTTP, for tests."""

from typing import Any

import httpx

from tests.support import external
from tests.support.harness import Running, problem


class Trainer:
    """A user's own trainer, for one study."""

    def __init__(self, house: Running, name: str = "tuning", **changes: Any) -> None:
        self.client, self.name = house.client, name
        created = self.client.post("/v1/studies", json=external.document(name=name, **changes))
        assert created.status_code == 201, created.text
        self.created = created.json()

    def post(self, word: str, **message: Any) -> httpx.Response:
        return self.client.post(f"/v1/studies/{self.name}/{word}", json=message)

    def ask(self, **message: Any) -> dict[str, Any]:
        answer = self.post("ask", **message)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def report(self, trial: dict[str, Any], step: int, score: float | None, **more: Any) -> str:
        answer = self.post("report", token=trial["token"], step=step, metrics={"score": score, "loss": 1}, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["decision"])

    def tell(self, trial: dict[str, Any], **end: Any) -> dict[str, Any]:
        answer = self.post("tell", token=trial["token"], **end)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def run(self) -> None:
        """Train until the study has ended."""
        while (answer := self.post("ask")).status_code == 200:
            trial = answer.json()
            for step in (1, 2, 3):
                if self.report(trial, step, external.score(trial["params"], step)) != "continue":
                    break
            self.tell(trial)
        assert "gives out no trials" in problem(answer, 410)["detail"]
