"""The local fleet: worker processes that a service or `luthier workers` starts on its own machine.

A fleet has some workers for each usable GPU, or else some on the CPU, and splits the cores among them. Its workers
speak HTTP like workers on other machines. Their standard input is a pipe from this process: it ends when this process
ends, in whichever way, and they end with it. Nothing here imports torch or the code of trials.
"""

import contextlib
import logging
import os
import platform
import re
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from luthier.studies.gpus import CPU, usable_gpus
from luthier.studies.host import usable_cores
from luthier.studies.protocol import SECRET_VARIABLES
from luthier.studies.versions import EXIT_OTHER_VERSION

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0  # before a worker that died is started again; doubles up to:
LONGEST_PAUSE_SECONDS = 60.0
STEADY_SECONDS = 60.0  # a worker that lived so long starts over with the first pause
MOST_DEATHS = 3  # in a row: a worker that died so often is not expected to stay up any more
LOOK_SECONDS = 0.5  # between checks of the workers


@dataclass
class _Slot:
    """A worker of the fleet: its name, its device, and its present process."""

    name: str
    arguments: list[str]  # --gpu cpu|UUID --threads N
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    restart_at: float = 0.0  # monotonic seconds
    pause: float = field(default=FIRST_PAUSE_SECONDS)
    deaths: int = 0  # in a row, each soon after a start
    refused: bool = False  # for its version: it is not started again

    @property
    def device(self) -> str:
        """The worker's device as a person would call it."""
        _, gpu, _, threads = self.arguments
        return f"{threads} CPU thread{'' if threads == '1' else 's'}" if gpu == CPU else gpu


class LocalFleet:
    """Keeps the workers of this machine running between `start` and `stop`.

    A thread starts workers that died again, after a pause. Other threads may read `pids` and `problem`.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        data_roots: str | None,
        cpu_workers: int,
        home: Path,
        workers_per_gpu: int = 1,
        logs: bool = True,
        gpus: list[str] | None = None,
        kind: str = "local",
    ) -> None:
        """Prepare a fleet; no process starts yet.

        Args:
            url: URL of the service.
            token: The workers' token, or None where the service needs none.
            data_roots: Folders, separated by colons, that data and models must lie in; None for no limit.
            cpu_workers: Number of workers where there is no GPU.
            home: Folder of the workers' files and logs.
            workers_per_gpu: Number of workers on each GPU.
            logs: True to write each worker's output to `home/logs/NAME.log`; else it goes where this process's goes.
            gpus: UUIDs of the GPUs to work on, empty for the CPU; None for all usable ones.
            kind: The beginning of the workers' names, and of those of their logs; the number follows.
        """
        self._url = url
        self._logs = home / "logs" if logs else None
        self._environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
        if token is not None:
            self._environment["LUTHIER_WORKER_TOKEN"] = token
        self._environment["LUTHIER_DATA_ROOTS"] = "/" if data_roots is None else data_roots
        self._environment["LUTHIER_HOME"] = str(home.resolve())
        host = re.sub(r"[^A-Za-z0-9._-]", "-", platform.node()) or "localhost"
        devices = _devices(cpu_workers, workers_per_gpu, gpus)
        self._slots = [_Slot(f"{kind}-{i}@{host}", arguments) for i, arguments in enumerate(devices)]
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True, name="fleet")

    @property
    def pids(self) -> list[int]:
        """Numbers of the worker processes that run now."""
        return [slot.process.pid for slot in self._slots if slot.process is not None and slot.process.poll() is None]

    @property
    def is_refused(self) -> bool:
        """Whether the service refuses each worker for its version, so that none is started any more."""
        return all(slot.refused for slot in self._slots)

    @property
    def problem(self) -> str | None:
        """A sentence once no worker stays up, with where to read why; None while at least one may stay up."""
        if any(slot.deaths < MOST_DEATHS for slot in self._slots):
            return None
        path = self._log_file(self._slots[0])
        if path is None:
            return "No worker stays up; its own words say why."
        lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
        return f"No worker stays up; {path} says why" + (f": {lines[-1]}" if lines else ".")

    def start(self) -> None:
        """Start the workers, and return before they are ready. Raises OSError where a process cannot be started."""
        for slot in self._slots:
            path = self._log_file(slot)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
            self._launch(slot)
            log.info("worker %s on %s", slot.name, slot.device)
        self._keeper.start()

    def stop(self, timeout_seconds: float) -> None:
        """End the workers, after they have given their trials back.

        Args:
            timeout_seconds: How long all of them together may take; a worker that has not ended by then is killed.
        """
        self._stopping.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        processes = [slot.process for slot in self._slots if slot.process is not None]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + timeout_seconds
        for process in processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                process.kill()  # its child sees that its worker is gone, and ends
                process.wait()
            _close(process.stdin)

    def _keep(self) -> None:
        """Check the workers until the fleet stops: the work of the fleet's thread."""
        while not self._stopping.wait(LOOK_SECONDS):
            for slot in self._slots:
                self._restart_if_dead(slot, time.monotonic())

    def _restart_if_dead(self, slot: _Slot, now: float) -> None:
        """Log a worker that died, and start it again once its pause is over. `now`: monotonic seconds."""
        if slot.process is not None:
            code = slot.process.poll()
            if code is None:
                return
            _close(slot.process.stdin)
            slot.process = None
            was_steady = now - slot.started > STEADY_SECONDS
            slot.refused = code == EXIT_OTHER_VERSION
            slot.deaths = MOST_DEATHS if slot.refused else 0 if was_steady else slot.deaths + 1
            slot.pause = FIRST_PAUSE_SECONDS if was_steady else slot.pause
            slot.restart_at = now + slot.pause
            slot.pause = min(slot.pause * 2, LONGEST_PAUSE_SECONDS)
            why = self._log_file(slot) or "its last line"
            log.error("Worker %s ended with code %d; %s says why.", slot.name, code, why)
            if slot.refused:
                log.error("Worker %s is not started again: the service speaks another version of Luthier.", slot.name)
        elif now >= slot.restart_at and not slot.refused:
            try:
                self._launch(slot)
            except OSError as error:
                slot.restart_at = now + slot.pause
                log.error("Worker %s cannot be started: %s", slot.name, error)

    def _launch(self, slot: _Slot) -> None:
        """Start a worker's process. Raises OSError."""
        command = [
            sys.executable,
            "-P",
            "-m",
            "luthier.trials",
            "--server",
            self._url,
            "--name",
            slot.name,
            "--exit-on-eof",
        ]
        path = self._log_file(slot)
        with path.open("ab") if path else nullcontext() as output:
            slot.process = subprocess.Popen(  # noqa: S603 - no shell
                command + slot.arguments,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the service, which then stops its workers
            )
        slot.started = time.monotonic()

    def _log_file(self, slot: _Slot) -> Path | None:
        return None if self._logs is None else self._logs / f"{slot.name.partition('@')[0]}.log"


def _devices(cpu_workers: int, workers_per_gpu: int = 1, gpus: list[str] | None = None) -> list[list[str]]:
    """Return the arguments of each worker: its GPU, or the CPU, and its share of the cores."""
    devices = (usable_gpus() if gpus is None else gpus) * workers_per_gpu or [CPU] * max(cpu_workers, 1)
    shares = map(str, _share_cores(len(devices)))
    return [["--gpu", device, "--threads", threads] for device, threads in zip(devices, shares, strict=True)]


def _share_cores(workers: int) -> list[int]:
    """Return each worker's CPU threads: at least 1, at most OMP_NUM_THREADS, else an equal share of the cores."""
    cores = usable_cores()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    most = int(limit) if limit.isdigit() else cores
    return [max(min(cores // workers + (i < cores % workers), most), 1) for i in range(workers)]


def _close(pipe: IO[bytes] | None) -> None:
    with contextlib.suppress(OSError):
        if pipe is not None:
            pipe.close()
