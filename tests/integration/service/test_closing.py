"""A service that stops leaves no connection to its database open, whatever looks at it then."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from sqlite3 import ProgrammingError
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.pool import Pool

from luthier.service.errors import RefusedToStart
from luthier.service.server.app import build_core
from luthier.service.settings import Settings
from tests.support.event_streams import listening
from tests.support.harness import TIMINGS, Running, client, running
from tests.support.waiting import until

pytestmark = pytest.mark.locks
STOPS = 8
HASTY = replace(TIMINGS, event_look_seconds=0.001, reaper_seconds=0.02)


def _is_open(connection: Any) -> bool:
    try:
        return not connection.closed
    except AttributeError:  # SQLite's do not say so
        try:
            connection.total_changes  # noqa: B018 - it raises
        except ProgrammingError:
            return False
        return True


@contextmanager
def connections() -> Iterator[list[Any]]:
    """Collect the connections that anything opens within the block; they stay referenced, so that none is collected."""
    opened: list[Any] = []

    def note(connection: Any, _entry: Any) -> None:
        opened.append(connection)

    event.listen(Pool, "connect", note)
    try:
        yield opened
    finally:
        event.remove(Pool, "connect", note)


def still_open(opened: list[Any]) -> list[Any]:
    return [connection for connection in opened if _is_open(connection)]


class Looking:
    """A service whose looks for events can be held within their query."""

    def __init__(self, home: Path, url: str, thread_stop_seconds: float) -> None:
        settings = Settings(home=home, database_url=SecretStr(url), port=0, fleet="none")
        self.house = Running(settings, timings=replace(HASTY, thread_stop_seconds=thread_stop_seconds))
        self._asked, self._reached, self.released = threading.Event(), threading.Event(), threading.Event()
        event.listen(self.house.core.database.engine, "before_cursor_execute", self._hold)
        self.house.start()
        self.house.create()

    def hold(self) -> None:
        """Return once a look waits within its query."""
        self._asked.set()
        assert self._reached.wait(20)

    def _hold(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self._asked.is_set() and "max(luthier_change.id)" in statement:
            self._reached.set()
            assert self.released.wait(20)


def follow(house: Running, stack: ExitStack) -> None:
    """Open a stream of events that is there until the stack's end, after the service's."""
    stream = stack.enter_context(listening(stack.enter_context(client(house.url)), "/v1/events?last_event_id=0"))
    next(iter(stream))
    stack.callback(lambda: stream)  # its lines hold the connection open


@pytest.mark.full
def test_a_service_that_stops_in_the_middle_of_looks_closes_every_connection(tmp_path: Path, database_url: str) -> None:
    with connections() as opened, ExitStack() as stack:
        for number in range(STOPS):
            with running(tmp_path, database_url, timings=HASTY) as house:
                house.create(f"s{number}")
                follow(house, stack)
                house.create(f"t{number}")
            assert still_open(opened) == []
        assert len(opened) >= 2 * STOPS


def test_a_service_waits_for_a_look_before_it_closes_the_connections(tmp_path: Path, database_url: str) -> None:
    with connections() as opened, ExitStack() as stack:
        looking = Looking(tmp_path, database_url, thread_stop_seconds=30.0)
        follow(looking.house, stack)
        looking.hold()
        end = threading.Thread(target=looking.house.stop)
        end.start()
        until(lambda: looking.house.app.state.service.notifier.closed)
        assert end.is_alive()
        looking.released.set()
        end.join(30)
        assert still_open(opened) == []


def test_a_look_that_takes_longer_closes_its_own_connection(tmp_path: Path, database_url: str) -> None:
    with connections() as opened, ExitStack() as stack:
        looking = Looking(tmp_path, database_url, thread_stop_seconds=0.0)
        follow(looking.house, stack)
        looking.hold()
        looking.house.stop()
        assert still_open(opened)
        looking.released.set()
        until(lambda: not still_open(opened))


@pytest.mark.full
def test_the_dashboard_closes_its_connections_too(tmp_path: Path, database_url: str) -> None:
    with connections() as opened:
        with running(tmp_path, database_url) as house:
            house.started(house.worker())
            before = len(opened)
            assert house.client.get("/api/studies").status_code == 200
            assert len(opened) > before
        assert still_open(opened) == []


def test_a_service_that_refuses_to_start_closes_what_it_opened(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "file").touch()
    settings = Settings(home=tmp_path, database_url=SecretStr(database_url), store=tmp_path / "file" / "store")
    with connections() as opened, pytest.raises(RefusedToStart):
        build_core(settings)
    assert opened
    assert still_open(opened) == []
