"""The local fleet: the workers that `luthier serve` and `luthier run` start on their own machine.

Some workers per visible GPU, else some on the CPU; the cores are split among them. Workers speak HTTP like any
others; what ties them to the service is their standard input, a pipe that ends with the service, however it ends.
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

from luthier.studies.gpus import usable_gpus
from luthier.studies.host import usable_cores
from luthier.studies.protocol import SECRET_SETTINGS

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0  # before a worker that died is started again; doubles up to:
LONGEST_PAUSE_SECONDS = 60.0
STEADY_SECONDS = 60.0  # a worker that lived so long starts over with the first pause
HOPELESS_DEATHS = 3  # so many in a row, and a worker is not expected to stay up any more
LOOK_SECONDS = 0.5  # between looks at the workers
CPU = "cpu"


@dataclass
class _Slot:
    """One worker's place: its name, what it runs on, and the process that fills it now."""

    name: str
    arguments: list[str]  # --gpu cpu|IDENTIFIER --threads N
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    restart_at: float = 0.0  # monotonic seconds
    pause: float = field(default=FIRST_PAUSE_SECONDS)
    deaths: int = 0  # in a row, each soon after a start

    @property
    def device(self) -> str:
        """As a person would call it."""
        _, gpu, _, threads = self.arguments
        return f"{threads} CPU thread{'' if threads == '1' else 's'}" if gpu == CPU else gpu


class LocalFleet:
    """Keeps the workers of this machine running between `start` and `stop`.

    `data_roots` (folders separated by colons, None for no limit) is what their data and models may lie in; their
    output goes to `home/logs/<name>.log`, or without `logs` where this process's own goes. `found` are the GPUs to
    work on, the CPU where it is empty; without it the fleet looks for itself.
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
        found: list[str] | None = None,
    ) -> None:
        self._url, self._logs = url, home / "logs" if logs else None
        self._environment = {k: v for k, v in os.environ.items() if k not in SECRET_SETTINGS}
        if token is not None:
            self._environment["LUTHIER_WORKER_TOKEN"] = token
        self._environment["LUTHIER_DATA_ROOTS"] = "/" if data_roots is None else data_roots
        self._environment["LUTHIER_HOME"] = str(home.resolve())
        host = re.sub(r"[^A-Za-z0-9._-]", "-", platform.node()) or "localhost"
        devices = _devices(cpu_workers, workers_per_gpu, found)
        self._slots = [_Slot(f"local-{i}@{host}", arguments) for i, arguments in enumerate(devices)]
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True, name="fleet")

    @property
    def pids(self) -> list[int]:
        """The processes of the workers that run now."""
        return [slot.process.pid for slot in self._slots if slot.process is not None and slot.process.poll() is None]

    @property
    def problem(self) -> str | None:
        """A sentence when no worker stays up; None while there is hope."""
        if any(slot.deaths < HOPELESS_DEATHS for slot in self._slots):
            return None
        path = self._log_file(self._slots[0])
        if path is None:
            return "No worker stays up; its own words say why."
        lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
        return f"No worker stays up; {path} says why" + (f": {lines[-1]}" if lines else ".")

    def start(self) -> None:
        """Start the workers; returns before they are ready. Raises OSError when no process can be started."""
        for slot in self._slots:
            path = self._log_file(slot)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
            self._launch(slot)
            log.info("worker %s on %s", slot.name, slot.device)
        self._keeper.start()

    def stop(self, timeout_seconds: float) -> None:
        """Have every worker give its trial back and end; kill those that have not within `timeout_seconds`."""
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
        while not self._stopping.wait(LOOK_SECONDS):
            for slot in self._slots:
                self._look_after(slot, time.monotonic())

    def _look_after(self, slot: _Slot, now: float) -> None:
        """Notice a worker that died, and start it again after a pause."""
        if slot.process is not None:
            code = slot.process.poll()
            if code is None:
                return
            _close(slot.process.stdin)
            slot.process = None
            steady = now - slot.started > STEADY_SECONDS
            slot.deaths = 0 if steady else slot.deaths + 1
            slot.pause = FIRST_PAUSE_SECONDS if steady else slot.pause
            slot.restart_at = now + slot.pause
            slot.pause = min(slot.pause * 2, LONGEST_PAUSE_SECONDS)
            why = self._log_file(slot) or "its last line"
            log.error("Worker %s ended with code %d; %s says why.", slot.name, code, why)
        elif now >= slot.restart_at:
            try:
                self._launch(slot)
            except OSError as error:
                slot.restart_at = now + slot.pause
                log.error("Worker %s cannot be started: %s", slot.name, error)

    def _launch(self, slot: _Slot) -> None:
        command = [sys.executable, "-m", "luthier.trials", "--server", self._url, "--name", slot.name, "--exit-on-eof"]
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


def _devices(cpu_workers: int, workers_per_gpu: int = 1, found: list[str] | None = None) -> list[list[str]]:
    """The arguments of each worker: a GPU or none, and its share of the cores."""
    slots = (usable_gpus() if found is None else found) * workers_per_gpu or [CPU] * max(cpu_workers, 1)
    shares = map(str, _shares(len(slots)))
    return [["--gpu", slot, "--threads", threads] for slot, threads in zip(slots, shares, strict=True)]


def _shares(workers: int) -> list[int]:
    """CPU threads of each worker: together no more than there are cores, where there is a core for each of them."""
    cores = usable_cores()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    most = int(limit) if limit.isdigit() else cores
    return [max(min(cores // workers + (i < cores % workers), most), 1) for i in range(workers)]


def _close(pipe: IO[bytes] | None) -> None:
    with contextlib.suppress(OSError):
        if pipe is not None:
            pipe.close()
