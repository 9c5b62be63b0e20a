"""A worker's own journal: a line of JSON for each message that was answered, which outlives a kill of the worker.

Instants are of the machine's monotonic clock, which all processes share. A message is written down once it was
answered; what was never answered leaves no line.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A message of a worker to the service, and its answer.

    Attributes:
        worker: the worker's name.
        route: claim, report, renew or finish.
        sent: when it was first sent; repeats of it came later.
        answered: when its answer came.
        status: the answer's HTTP status.
        id, token: the assignment and its lease; for a claim, those of the answer.
        kind, number, attempt, study, gpu: of the assignment, for a claim.
        step, value: of a report; the value is the objective's score.
        end: how the work ended, for a finish.
        detail: the sentence of a refusal.
    """

    worker: str
    route: str
    sent: float
    answered: float
    status: int
    id: int = 0
    token: str = ""
    kind: str = ""
    number: int | None = None
    attempt: int = 0
    study: str = ""
    gpu: str | None = None
    step: int = 0
    value: float | None = None
    end: str = ""
    detail: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the service said that it took the message."""
        return 200 <= self.status < 300


class Journal:
    """The journal of one worker, in a file of its own."""

    def __init__(self, folder: Path, worker: str, gpu: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / f"{worker}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._worker, self._gpu = worker, gpu

    def note(self, route: str, sent: float, status: int, message: Mapping[str, Any], answer: bytes) -> None:
        """Write down a message and its answer, in one write."""
        told: dict[str, Any] = {"id": message.get("id", 0), "token": message.get("token", "")}
        if route == "report":
            told |= {"step": message["step"], "value": message["metrics"].get("accuracy")}
        elif route == "finish":
            told["end"] = message["status"]
        elif route == "claim":
            given = json.loads(answer) if status == 200 else {}
            told = {key: given[key] for key in ("id", "token", "kind", "number", "attempt", "study") if key in given}
            told["gpu"] = self._gpu
        detail = answer.decode(errors="replace")[:500] if status >= 400 else ""
        entry = Entry(self._worker, route, sent, time.monotonic(), status, detail=detail, **told)
        os.write(self._file, (json.dumps(asdict(entry)) + "\n").encode())


def read(folder: Path) -> Iterator[Entry]:
    """Yield the entries of all journals in a folder; a line that was cut by a kill is left out."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                yield Entry(**json.loads(line))
            except ValueError:
                continue
