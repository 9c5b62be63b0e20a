"""A real `luthier serve` with its local fleet, a tiny model and data; processes that can be killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.tiny import tiny_csv, tiny_model

COMMAND = [sys.executable, "-c", "from luthier.service.cli import main; main()"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` and `data.csv`."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model(folder / "model", layers=3)
    tiny_csv(folder / "data.csv", rows=400)
    return folder


def spec(tiny: Path, name: str, **changes: Any) -> dict[str, Any]:
    """A study whose trials take a second or two, less where more is frozen, and report six times."""
    return {
        "name": name,
        "task": "text-classification",
        "model": str(tiny / "model"),
        "dataset": {"source": str(tiny / "data.csv"), "validation": 0.2, "test": 0.2},
        "space": {
            "learning_rate": {"low": 5e-4, "high": 5e-3, "log": True},
            "batch_size": [4, 8],
            "epochs": {"low": 3, "high": 3},
            "weight_decay": {"low": 0.0, "high": 0.3},
            "freeze_depth": {"low": 0, "high": "auto"},
        },
        "pruner": {"name": "none"},
        "evaluations_per_epoch": 2,
        "budget": {"trials": 4},
    } | changes


def environment(home: Path, tiny: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LUTHIER_")}
    ours = {
        "LUTHIER_HOME": str(home),
        "LUTHIER_DATA_ROOTS": str(tiny),
        "LUTHIER_LEASE_SECONDS": "3",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return kept | ours | more


class Served:
    """One `luthier serve` on a port of its own; started, killed and started again over the same home."""

    def __init__(self, environment: dict[str, str], cwd: Path | None = None) -> None:
        self.environment, self.cwd = environment, cwd
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; return the seconds until /healthz answered."""
        began = time.monotonic()
        with Path(self.environment["LUTHIER_HOME"]).with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--port", str(self.port)],
                env=self.environment,
                cwd=self.cwd,
                stderr=log,
                start_new_session=True,
            )
        wait(lambda: self.answers(), 30)
        return time.monotonic() - began

    def answers(self) -> bool:
        try:
            return self.client.get("/healthz").is_success
        except httpx.TransportError:
            return False

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(signal_number)
        self.process.wait(30)

    def study(self, name: str) -> dict[str, Any]:
        return dict(self.client.get(f"/v1/studies/{name}").raise_for_status().json())

    def trials(self, name: str) -> list[dict[str, Any]]:
        return list(self.client.get(f"/v1/studies/{name}/trials?limit=500").raise_for_status().json()["items"])

    def ended(self, name: str, seconds: float = 90) -> dict[str, Any]:
        wait(lambda: self.study(name)["finished_at"] is not None, seconds)
        return self.study(name)

    def processes(self) -> list[tuple[int, str]]:
        """Every process below the service: (pid, command line)."""
        assert self.process is not None
        return descendants(self.process.pid)


def wait(condition: Callable[[], Any], seconds: float) -> Any:
    """The condition's first true value. Fails after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"nothing came of it within {seconds} s")


def descendants(pid: int) -> list[tuple[int, str]]:
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found, queue = [], [pid]
    while queue:
        for child in parents.get(queue.pop(), []):
            queue.append(child)
            try:
                line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            found.append((child, line))
    return found


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


def run(home: Path, tiny: Path, document: dict[str, Any]) -> dict[str, Any]:
    """`luthier run --json` to its end; the final study."""
    path = home.parent / f"{home.name}.yaml"
    path.write_text(json.dumps(document))
    done = subprocess.run(
        [*COMMAND, "run", str(path), "--json"], env=environment(home, tiny), capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
