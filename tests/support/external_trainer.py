"""A user's own trainer of an external study, over plain HTTP, for tests."""

from typing import Any

import httpx

from tests.support import external
from tests.support.harness import Running, problem
from tests.support.waiting import until


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
        answer = self.asked(**message)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def asked(self, **message: Any) -> httpx.Response:
        """Ask, again where the service is only too slow to draw a trial at once."""
        answers: list[httpx.Response] = []

        def is_an_answer() -> bool:
            answers.append(self.post("ask", **message))
            return answers[-1].status_code != 202 or "in a moment" not in answers[-1].text

        until(is_an_answer, 30)
        return answers[-1]

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
        while (answer := self.asked()).status_code == 200:
            trial = answer.json()
            for step in (1, 2, 3):
                if self.report(trial, step, external.score(trial["params"], step)) != "continue":
                    break
            self.tell(trial)
        assert "gives out no trials" in problem(answer, 410)["detail"]
