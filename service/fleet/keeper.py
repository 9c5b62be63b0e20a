"""`luthier workers`: a machine's workers for a service elsewhere, kept running as `luthier serve` keeps its own."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from luthier.service.fleet.local import LocalFleet
from luthier.service.settings import Settings
from luthier.studies.gpus import usable_gpus

log = logging.getLogger("luthier")

ALIVE_SECONDS = 2.0  # between touches of the file that says so
LOOK_SECONDS = 30.0  # between looks for a GPU where there was none
STOP_SECONDS = 20.0  # for the workers to give their trials back; well within what Docker is told to wait
NO_GPU = (
    "No GPU can be used here: `nvidia-smi -L` lists none. In a container that takes the NVIDIA container toolkit and a "
    "GPU reservation. Nothing is trained; looking again every %d s. To train on the CPU: luthier workers --cpu (with "
    "Docker Compose, the file docker/compose.cpu.yaml)."
)


def keep(settings: Settings, server: str, *, cpu: bool, alive: Path | None) -> None:
    """Keep workers running until SIGTERM or SIGINT, which has them give their trials back.

    `alive` is touched while they stay up: not while there is no GPU, nor once none has stayed up for a while.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    found: list[str] = []
    if cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not (found := _wait_for_gpus(stopped)):
        return
    fleet = LocalFleet(
        server,
        settings.worker_token.get_secret_value() if settings.worker_token else None,
        data_roots=settings.data_roots or str(Path.cwd()),
        cpu_workers=settings.cpu_workers or 1,
        workers_per_gpu=settings.workers_per_gpu,
        found=found,
        home=settings.home,
        logs=False,
    )
    fleet.start()
    while not stopped.wait(ALIVE_SECONDS):
        if alive is not None and fleet.problem is None:
            alive.touch()
    fleet.stop(STOP_SECONDS)


def _wait_for_gpus(stopped: threading.Event) -> list[str]:
    """The GPUs, once there is one; none when a signal came first. A driver that is being updated may take a while."""
    said = False
    while not (found := usable_gpus()):
        if not said:
            log.error(NO_GPU, LOOK_SECONDS)
        said = True
        if stopped.wait(LOOK_SECONDS):
            return []
    return found
