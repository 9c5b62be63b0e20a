"""A scripted service, and workers that are gone when a test ends."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted import Service
from tests.support.worker_processes import Starts, WorkerProcess


@pytest.fixture(autouse=True)
def no_nvidia_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests put an `nvidia-smi` of their own on the PATH; the machine's driver must not answer first."""
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    script = Service(tmp_path / "store")
    yield script
    script.close()


@pytest.fixture
def start(service: Service, tmp_path: Path) -> Iterator[Starts]:
    """start(*arguments, **environment): a worker with a stub for a child."""
    started: list[WorkerProcess] = []

    def run(*arguments: str, module: str = "tests.support.worker_stub", **environment: str) -> WorkerProcess:
        first = (service.url,) if module == "tests.support.worker_stub" else ("--server", service.url)
        output = tmp_path / f"worker-{len(started)}.log"
        home = {"LUTHIER_HOME": str(tmp_path / "home")}
        started.append(WorkerProcess(service, output, *first, *arguments, module=module, **(home | environment)))
        return started[-1]

    yield run
    for process in started:
        process.end()
