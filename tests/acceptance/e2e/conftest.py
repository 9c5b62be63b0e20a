"""A real `luthier serve` with its local fleet, a tiny model and data; processes that can be killed."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.served import Served, environment
from tests.support.tiny import tiny_csv, tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` and `data.csv`."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model(folder / "model", layers=3)
    tiny_csv(folder / "data.csv", rows=400)
    return folder


@pytest.fixture
def serve(tmp_path: Path, tiny: Path) -> Iterator[Callable[..., Served]]:
    """A factory of services; all are ended, with whatever they started."""
    made: list[Served] = []

    def make(home: str = "home", **more: str) -> Served:
        served = Served(environment(tmp_path / home, tiny, **more))
        served.start()
        made.append(served)
        return served

    yield make
    for served in made:
        assert served.process is not None
        if served.process.poll() is None:
            served.kill(signal.SIGTERM)
        served.client.close()


@pytest.fixture(scope="session")
def shared(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service with a warm worker, for studies that do not disturb each other."""
    served = Served(environment(tmp_path_factory.mktemp("shared") / "home", tiny))
    served.start()
    yield served
    served.kill(signal.SIGTERM)
    served.client.close()
