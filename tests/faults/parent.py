"""A real worker with a journal: `python -m tests.faults.parent URL NAME FOLDER [--real]`.

Its child trains by formula (`child.py`), with `--real` it is the product's own. Pauses are short, as in `worker_stub`.
"""

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from luthier.trials.worker import loop, pauses, relay
from luthier.trials.worker.child_process import COMMAND
from luthier.trials.worker.client import WorkerClient
from tests.faults.journal import Journal

GROWTH_BYTES = 100 * 2**20  # a child that keeps so much more after a trial is replaced
MISCHIEF = "LUTHIER_FAULTS_MISCHIEF"  # names the folder in which a child finds what it is to do wrong


def keep_journal(journal: Journal) -> None:
    """Have each message of this process's worker written down once it is answered."""
    post = WorkerClient._post

    async def noted(self: WorkerClient, route: str, message: Any, **options: Any) -> httpx.Response:
        sent = time.monotonic()
        response = await post(self, route, message, **options)
        journal.note(route, sent, response.status_code, message.model_dump(mode="json"), response.content)
        return response

    WorkerClient._post = noted  # type: ignore[method-assign]


def main(url: str, name: str, folder: Path, real: bool) -> int:
    """Work until a signal, and return the exit code."""
    pauses.LONGEST_PAUSE_SECONDS = 0.3
    relay.CANCEL_SECONDS = loop.CANCEL_SECONDS = 1.0
    loop.CLAIM_SECONDS = (1.0, 2.0)
    loop.IDLE_SECONDS = loop.FULL_SECONDS = 0.05
    loop.GROWTH_BYTES = GROWTH_BYTES
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("luthier.trials").setLevel(logging.INFO)
    keep_journal(Journal(folder, name))
    command = COMMAND if real else (sys.executable, "-m", "tests.faults.child")
    return asyncio.run(loop.Worker(url, None, name=name, child_command=command).run())


if __name__ == "__main__":
    os.environ.setdefault("LUTHIER_DATA_ROOTS", "/")
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), "--real" in sys.argv))
