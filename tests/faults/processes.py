"""Processes of an arena: services and workers, which can be killed, suspended, and started again."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.faults import scripted, service
from tests.support.command_line import without_luthier
from tests.support.paths import ROOT
from tests.support.several_services import FORKS
from tests.support.waiting import gone


class ServiceProcess:
    """A service. Its socket stays open while it is down, so that callers wait."""

    def __init__(self, home: Path, url: str, log: Path, environment: Mapping[str, str]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._given = (home, url, self._listener, log, dict(environment))
        self._process: BaseProcess | None = None
        self.deaths: list[int | None] = []  # exit codes of those that ended by themselves, and were started again

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, or start it again."""
        if self._process is not None:
            self.deaths.append(self._process.exitcode)
        self._process = FORKS.Process(target=service.main, args=self._given, daemon=True)
        self._process.start()

    def notify(self, number: int) -> None:
        """Send it a signal."""
        if self.alive:
            os.kill(self.pid, number)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, and wait until it has ended."""
        self.notify(number)
        if self._process is not None:
            self._process.join(30)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()

    def wait_death(self, seconds: float) -> bool:
        """Return whether it ends by itself within so many seconds."""
        assert self._process is not None
        self._process.join(seconds)
        return not self._process.is_alive()

    def close(self) -> None:
        """End it, and its socket."""
        self.kill()
        self._listener.close()


class WorkerProcess:
    """A worker: scripted (a fork), or a real one with its child (a program).

    Args:
        kind: scripted, parents or real.
        given: URL, name, folder of journals, GPU, whether it is on another machine, seed.
        environment: more variables for a program.
    """

    def __init__(
        self, kind: str, given: tuple[str, str, Path, str | None, bool, int], environment: Mapping[str, str]
    ) -> None:
        self.kind, self.name, self._given, self._environment = kind, given[1], given, environment
        self._fork: BaseProcess | None = None
        self._program: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        url, name, folder, *_ = self._given
        if self.kind == "scripted":
            self._fork = FORKS.Process(target=scripted.main, args=self._given, daemon=True)
            self._fork.start()
            return
        command = [sys.executable, "-m", "tests.faults.parent", url, name, str(folder)]
        settings = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with (folder / f"{name}.log").open("ab") as log:
            self._program = subprocess.Popen(
                command + (["--real"] if self.kind == "real" else []),
                cwd=ROOT,
                env=without_luthier() | settings | dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        pid = self._fork.pid if self._fork is not None else self._program.pid if self._program is not None else None
        assert pid is not None
        return pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        if self._fork is not None:
            return self._fork.is_alive()
        return self._program is not None and self._program.poll() is None

    def children(self) -> list[int]:
        """Return the processes that it has started."""
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, and wait until it has ended."""
        if self.alive:
            os.kill(self.pid, number)
        if self._fork is not None:
            self._fork.join(20)
        elif self._program is not None:
            try:
                self._program.wait(20)
            except subprocess.TimeoutExpired:
                self._program.kill()
                self._program.wait()
        gone(self.pid)
