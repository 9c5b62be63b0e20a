"""The process of `luthier workers`: a machine's fleet of workers for a service elsewhere.

`service/cli/serve.py` calls it; the fleet is the same one that `luthier serve` has. It must load neither the database
nor Optuna.
"""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from luthier.service.fleet.local import LocalFleet
from luthier.service.settings import Settings
from luthier.studies.gpus import usable_gpus
from luthier.studies.versions import EXIT_OTHER_VERSION

log = logging.getLogger("luthier")

ALIVE_SECONDS = 2.0  # between touches of the file that shows that workers stay up
LOOK_SECONDS = 30.0  # between searches for a GPU where there was none
STOP_SECONDS = 20.0  # for the workers to give their trials back; well within the time that Docker is told to wait
NO_GPU = (
    "No GPU can be used here: `nvidia-smi -L` lists none. In a container that takes the NVIDIA container toolkit and a "
    "GPU reservation. Nothing is trained; looking again every %d s. To train on the CPU: luthier workers --cpu (with "
    "Docker Compose, the file docker/compose.cpu.yaml)."
)


def run_fleet(settings: Settings, server: str, *, cpu: bool, alive: Path | None) -> None:
    """Keep workers running until SIGTERM or SIGINT, which makes them give their trials back. Main thread only.

    Args:
        settings: The token, the data roots, how many workers, and the folder for the files of workers.
        server: URL of the service.
        cpu: True to work on the CPU, and on no GPU; else wait until there is a GPU.
        alive: A file that is touched every ALIVE_SECONDS, except while there is no GPU or no worker stays up; None for
            no such file.

    Raises:
        SystemExit: the service refuses workers of this version; the code is `EXIT_OTHER_VERSION`.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    gpus: list[str] = []
    if cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    else:
        gpus = _wait_for_gpus(stopped)
        if not gpus:
            return
    fleet = LocalFleet(
        server,
        settings.worker_token.get_secret_value() if settings.worker_token else None,
        data_roots=settings.data_roots or str(Path.cwd()),
        cpu_workers=settings.cpu_workers or 1,
        workers_per_gpu=settings.workers_per_gpu,
        gpus=gpus,
        home=settings.home,
        logs=False,
        kind="workers",
    )
    fleet.start()
    while not stopped.wait(ALIVE_SECONDS) and not fleet.is_refused:
        if alive is not None and fleet.problem is None:
            alive.touch()
    fleet.stop(STOP_SECONDS)
    if fleet.is_refused:
        sys.exit(EXIT_OTHER_VERSION)


def _wait_for_gpus(stopped: threading.Event) -> list[str]:
    """Return the UUIDs of the GPUs once there are any; none when a signal came first.

    It may take a while, for example until a driver has been updated. The lack of a GPU is logged once.
    """
    gpus = usable_gpus()
    if not gpus:
        log.error(NO_GPU, LOOK_SECONDS)
    while not gpus and not stopped.wait(LOOK_SECONDS):
        gpus = usable_gpus()
    return gpus
