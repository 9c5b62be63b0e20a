"""A real worker with short pauses and a stub for a child: `python -m tests.support.worker_stub URL`."""

import asyncio
import logging
import os
import sys

from luthier.trials.worker import loop as worker
from luthier.trials.worker import pauses
from luthier.trials.worker import relay as work

if __name__ == "__main__":
    pauses.LONGEST_PAUSE_SECONDS = 0.2
    work.FILES_LOOK_SECONDS = 0.05
    work.CANCEL_SECONDS = worker.CANCEL_SECONDS = 0.5
    worker.RELEASE_SECONDS = 2.0
    worker.IDLE_SECONDS = worker.FULL_SECONDS = 0.02
    logging.basicConfig(level=logging.DEBUG)
    one = worker.Worker(
        sys.argv[1],
        os.environ.get("LUTHIER_WORKER_TOKEN"),
        name="stub",
        exit_on_eof="--exit-on-eof" in sys.argv,
        child_command=(sys.executable, "-m", "tests.support.child_stub"),
    )
    sys.exit(asyncio.run(one.run()))
