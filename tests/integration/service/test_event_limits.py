"""Streams that nobody reads, that are too many, or that are open at the end harm nobody."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from luthier.service.api.event_feed import Feed
from luthier.service.lifecycle import transitions
from luthier.studies.spec import StudySpec
from tests.support.event_streams import listening
from tests.support.harness import TIMINGS, Running, problem, running, spec
from tests.support.raw_http import answer, dialled, head, hung_up
from tests.support.waiting import until

EVENTS = "/v1/studies/s1/events"


@pytest.fixture
def few(tmp_path: Path) -> Iterator[tuple[Running, Feed]]:
    """A service that lets a client be slow for half a second."""
    timings = type(TIMINGS)(
        scheduler_seconds=3600.0, event_look_seconds=0.02, connection_look_seconds=0.05, answer_seconds=0.3
    )
    with running(tmp_path, None, timings=timings) as house:
        house.create()
        yield house, house.app.state.service.feed


def test_fifty_streams_half_open_take_no_thread_and_no_place(few: tuple[Running, Feed]) -> None:
    house, feed = few
    house.get("/v1/studies/s1")
    with ExitStack() as stack:
        lines = [stack.enter_context(dialled(house)) for _ in range(50)]
        for line in lines:
            line.sendall(head("GET", EVENTS))
        until(lambda: feed._streams == 50)
        threads = threading.active_count()
        for _ in range(3):
            assert house.get("/v1/studies/s1")["name"] == "s1"
        house.client.post("/v1/studies/s1/cancel")
        for line in lines[:3]:
            assert answer(line)[0] == 200
        assert threading.active_count() <= threads + 1
        assert len(feed._pages) <= 3
    until(lambda: feed._streams == 0)
    until(lambda: feed._task is None)


def test_one_too_many_is_told_to_come_again(few: tuple[Running, Feed]) -> None:
    house, feed = few
    feed._most_streams = 1
    with listening(house.client, EVENTS) as stream:
        stream.next("study")
        refused = house.anyone.get(EVENTS)
        assert "All 1 event streams" in problem(refused, 503)["detail"]
        assert refused.headers["retry-after"] == "5"
    until(lambda: feed._streams == 0)
    with listening(house.client, EVENTS) as stream:
        stream.next("study")


def test_a_reader_that_is_too_slow_is_cut_off_and_goes_on_later(few: tuple[Running, Feed]) -> None:
    house, feed = few
    core, long = house.core, {"source": "data/" + "x" * 20_000}
    with core.database.transaction() as session:
        for number in range(200):
            document = StudySpec.model_validate(spec(f"a{number}", dataset=long))
            transitions.create(session, core.leases, document, document.name)
    with dialled(house, receive_buffer=4096) as line:
        line.sendall(head("GET", "/v1/events?last_event_id=0"))
        until(lambda: feed._streams == 1)
        until(lambda: feed._streams == 0)
        assert hung_up(line)
    with listening(house.client, "/v1/events", "1") as stream:
        names = [stream.next("study").data["name"] for _ in range(200)]
    assert names == [f"a{number}" for number in range(200)]


def test_a_service_that_stops_ends_its_streams(tmp_path: Path) -> None:
    with running(tmp_path, None) as house:
        house.create()
        with listening(house.anyone, EVENTS) as stream:
            stream.next("study")
            house.app.state.service.notifier.close()
            assert list(stream) == []
            problem(house.client.get(EVENTS), 503)


@pytest.mark.full
def test_a_client_that_hangs_up_while_events_are_written_is_no_error(few: tuple[Running, Feed]) -> None:
    house, feed = few
    for number in range(2, 40):
        house.create(f"s{number}")
    said: list[logging.LogRecord] = []
    server = logging.getLogger("uvicorn.error")
    server.addFilter(said.append)  # type: ignore[arg-type]
    try:
        for so_much in range(1, 60):  # until one goes while an event is on its way to it
            with dialled(house) as line:
                line.sendall(head("GET", "/v1/events", **{"Last-Event-ID": "0"}))
                assert answer(line)[0] == 200
                line.recv(100 * so_much)
        until(lambda: feed._streams == 0)
    finally:
        server.removeFilter(said.append)  # type: ignore[arg-type]
    assert [record.getMessage() for record in said if record.exc_info] == []
