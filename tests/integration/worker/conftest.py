"""A scripted service, and workers that are gone when a test ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.scripted import TOKEN, Service


class Process:
    """A worker's process, whose output is kept in a file."""

    def __init__(self, service: Service, output: Path, *arguments: str, module: str, **environment: str) -> None:
        self.output = output
        with output.open("wb") as file:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                env=os.environ | {"LUTHIER_WORKER_TOKEN": TOKEN, "HF_HUB_OFFLINE": "1"} | environment,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()]

    def end(self) -> None:
        for pid in self.children() if self.popen.poll() is None else []:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.popen.kill()
        self.popen.wait()
        if self.popen.stdin is not None:
            self.popen.stdin.close()


Starts = Callable[..., Process]


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
    started: list[Process] = []

    def run(*arguments: str, module: str = "tests.support.worker_stub", **environment: str) -> Process:
        first = (service.url,) if module == "tests.support.worker_stub" else ("--server", service.url)
        output = tmp_path / f"worker-{len(started)}.log"
        home = {"LUTHIER_HOME": str(tmp_path / "home")}
        started.append(Process(service, output, *first, *arguments, module=module, **home, **environment))
        return started[-1]

    yield run
    for process in started:
        process.end()


def gone(pid: int, seconds: float = 5) -> bool:
    """Whether a process ends within so many seconds; one that nobody has waited for yet counts as ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False
