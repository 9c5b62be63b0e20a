"""A real `luthier serve` in its own process, a study for it, and a function for `luthier run`."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.command_line import COMMAND, without_luthier
from tests.support.waiting import until


def spec(tiny: Path, name: str, **changes: Any) -> dict[str, Any]:
    """Return a study whose trials take a second or two, less where more is frozen, and report six times."""
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
    """Return the environment of a service with this home that may read the folder `tiny`."""
    ours = {
        "LUTHIER_HOME": str(home),
        "LUTHIER_DATA_ROOTS": str(tiny),
        "LUTHIER_LEASE_SECONDS": "3",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return without_luthier() | ours | more


@contextmanager
def serving(environment: dict[str, str], token: str | None = None) -> "Iterator[Served]":
    """Run a `luthier serve` without workers of its own; with a token its client presents it."""
    served = Served(without_luthier() | {"LUTHIER_FLEET": "none"} | environment)
    if token is not None:
        served.environment["LUTHIER_TOKEN"] = token
        served.client.headers["Authorization"] = f"Bearer {token}"
    served.start()
    assert served.process is not None
    try:
        yield served
    finally:
        served.process.kill()
        served.process.wait()
        served.client.close()


class Served:
    """A `luthier serve` on its own port, which can be killed and started again over the same home."""

    def __init__(self, environment: dict[str, str], cwd: Path | None = None) -> None:
        self.environment, self.cwd = environment, cwd
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start the service and return the seconds until /healthz answered."""
        began = time.monotonic()
        with Path(self.environment["LUTHIER_HOME"]).with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--port", str(self.port)],
                env=self.environment,
                cwd=self.cwd,
                stderr=log,
                start_new_session=True,
            )
        until(self.answers, 30)
        return time.monotonic() - began

    def answers(self) -> bool:
        """Return whether the service answers."""
        try:
            return self.client.get("/healthz").is_success
        except httpx.TransportError:
            return False

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        """Send the service a signal and wait for its end."""
        assert self.process is not None
        self.process.send_signal(signal_number)
        self.process.wait(30)

    def study(self, name: str) -> dict[str, Any]:
        """Return a study as REST shows it."""
        return dict(self.client.get(f"/v1/studies/{name}").raise_for_status().json())

    def trials(self, name: str) -> list[dict[str, Any]]:
        """Return all trials of a study, in their order."""
        return list(self.client.get(f"/v1/studies/{name}/trials?limit=500").raise_for_status().json()["items"])

    def ended(self, name: str, seconds: float = 90) -> dict[str, Any]:
        """Return the study once it has ended."""
        until(lambda: self.study(name)["finished_at"] is not None, seconds, 0.05)
        return self.study(name)

    def processes(self) -> list[tuple[int, str]]:
        """Return every process below the service: (pid, command line)."""
        assert self.process is not None
        return descendants(self.process.pid)


def descendants(pid: int) -> list[tuple[int, str]]:
    """Return every process below this one that has not ended: (pid, command line)."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents.setdefault(int(fields[1]), []).append(int(status.parent.name))
    processes: list[tuple[int, str]] = []
    queue = [pid]
    while queue:
        for child in parents.get(queue.pop(), []):
            queue.append(child)
            try:
                line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            processes.append((child, line))
    return processes


def run(home: Path, tiny: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Run `luthier run --json` to its end and return the final study."""
    path = home.parent / f"{home.name}.yaml"
    path.write_text(json.dumps(document))
    done = subprocess.run(
        [*COMMAND, "run", str(path), "--json"], env=environment(home, tiny), capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
