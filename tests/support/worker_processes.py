"""Worker processes for tests with a scripted service: their output, children and end."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.coverage_data import measured
from tests.support.paths import ROOT
from tests.support.scripted import TOKEN, Service


class WorkerProcess:
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
        """Return what the worker has printed so far."""
        return self.output.read_text(errors="replace")

    def children(self) -> list[int]:
        """Return the process ids of the worker's direct children."""
        return [int(pid) for pid in Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()]

    def end(self) -> None:
        """Kill the worker and its children; where coverage measures, let the worker end by itself first."""
        if measured() and self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(10)
        for pid in self.children() if self.popen.poll() is None else []:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.popen.kill()
        self.popen.wait()
        if self.popen.stdin is not None:
            self.popen.stdin.close()


Starts = Callable[..., WorkerProcess]
