"""A service over each database, for tests of the contract."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luthier.service.settings import Settings
from luthier.studies.protocol import Assignment
from tests.support.harness import Running, ScriptedWorker, running
from tests.support.nightly import Nightly


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[Running]:
    """A service without a token, on an empty database."""
    with running(tmp_path / "home", database_url) as house:
        yield house


@pytest.fixture
def worker(house: Running) -> ScriptedWorker:
    return house.worker()


@pytest.fixture
def nightly(house: Running, worker: ScriptedWorker) -> Callable[..., Nightly]:
    return lambda **changes: Nightly(house, worker, **changes)


@pytest.fixture
def settings(house: Running) -> Settings:
    return house.settings


@pytest.fixture(scope="module")
def house_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for many tests of what is refused before the database is reached."""
    with running(tmp_path_factory.mktemp("home"), None) as house:
        yield house


@pytest.fixture(scope="module")
def inspected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One study that runs and has no trial yet, for many tests of what is refused."""
    with running(tmp_path_factory.mktemp("home"), None) as house:
        house.started(house.worker())
        yield house


@pytest.fixture
def inspected_running(house_sqlite: Running) -> Iterator[tuple[Running, ScriptedWorker, Assignment]]:
    """A running trial without a report, for tests of messages that are refused."""
    worker = house_sqlite.worker()
    house_sqlite.started(worker)
    yield house_sqlite, worker, worker.take()
    house_sqlite.client.post("/v1/studies/s1/cancel")
    assert house_sqlite.client.delete("/v1/studies/s1").status_code == 204
