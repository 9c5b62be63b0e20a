"""A service in its own process, made for being disturbed: short times, a clock to move, a place to die at."""

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from luthier.service.dispatch import orphans
from luthier.service.server.app import create_app
from luthier.service.server.serve import Server, config
from luthier.service.server.timings import Timings
from luthier.service.settings import Settings
from luthier.service.storage import turns
from tests.faults import clocks, points

LEASE_SECONDS = 2.0
TURN_SECONDS = 5.0  # until the turn that a killed service left behind expires
SWEEP_SECONDS = 3 * LEASE_SECONDS  # between the two looks at a file that no row names
MAX_LOSSES = 100  # no trial fails because it was disturbed often


def main(home: Path, url: str, listener: socket.socket, log: Path, environment: Mapping[str, str]) -> None:
    """Serve until this process is killed."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environment)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    turns.TURN_SECONDS = TURN_SECONDS
    orphans.LEAST_SECONDS = SWEEP_SECONDS
    points.install(home)
    settings = Settings(
        home=home,
        database_url=SecretStr(url),
        lease_seconds=LEASE_SECONDS,
        max_losses=MAX_LOSSES,
        database_wait_seconds=60,
        data_roots="/",
    )
    timings = Timings(scheduler_seconds=0.5, orphans_seconds=0.5)
    served = create_app(settings, timings=timings)
    clocks.follow(served.state.service.core.database, home)
    Server(config(served, timings), lambda: None, lambda: None).run(sockets=[listener])
