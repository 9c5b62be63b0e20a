"""A stream of events as a test reads it: parsed by a few lines of its own, and compared with what REST says."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from luthier.studies.protocol import ENDED


class Told(NamedTuple):
    """An event of a stream."""

    kind: str
    id: str
    data: dict[str, Any]


class Listener:
    """A stream that is open."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last_id = ""
        self._lines = answer.iter_lines()

    def __iter__(self) -> Iterator[Told]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if line:
                key, _, value = line.partition(": ")
                fields[key] = value
                continue
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                yield Told(fields["event"], self.last_id, json.loads(fields["data"]))
            fields = {}

    def next(self, kind: str) -> Told:
        """Return the next event, which must be of this kind."""
        told = next(iter(self))
        assert told.kind == kind, told
        return told

    def until(self, is_last: Callable[[Told], bool]) -> list[Told]:
        """Return the events up to the first one of which this is true."""
        events = []
        for told in self:
            events.append(told)
            if is_last(told):
                break
        return events


@contextmanager
def listening(client: httpx.Client, path: str, last: str | None = None) -> Iterator[Listener]:
    """Open a stream, after the event with the id `last`; each part of it must come within 20 s."""
    headers = {} if last is None else {"Last-Event-ID": last}
    with client.stream("GET", path, headers=headers, timeout=20) as answer:
        assert answer.status_code == 200, answer.read()
        yield Listener(answer)


def beginning(client: httpx.Client, method: str, path: str) -> httpx.Response:
    """Return the answer to a request; of a stream of events, which does not end, its head alone."""
    with client.stream(method, path) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return httpx.Response(answer.status_code, headers=answer.headers, request=answer.request)
        answer.read()
        return answer


def has_ended(told: Told) -> bool:
    """Return whether an event says that its study has ended."""
    return told.kind == "study" and told.data.get("state") in ENDED


def evaluations(trials: list[dict[str, Any]]) -> list[tuple[int, int, float]]:
    """Return number, step and accuracy of each evaluation that REST shows."""
    return [(t["number"], step["step"], step["metrics"]["accuracy"]) for t in trials for step in t["values"]]


def reported(events: list[Told]) -> list[tuple[int, int, float]]:
    """Return the same of the events, sorted; one that came twice is in it twice."""
    reports = [told.data for told in events if told.kind == "report"]
    return sorted((r["number"], r["step"], r["metrics"]["accuracy"]) for r in reports)
