"""A service in its own process, on a socket that outlives it.

Its clock is the database's plus the seconds that the file `clock` in its home holds, if there is one.
"""

import os
import socket
import threading
import time
from pathlib import Path

from pydantic import SecretStr

from luthier.service.server.app import create_app
from luthier.service.server.serve import Server, config
from luthier.service.server.timings import Timings
from luthier.service.settings import Settings
from luthier.service.storage import turns
from luthier.service.storage.database import Database


def follow(clock: Path, database: Database) -> None:
    """Move the service's clock by the seconds in the file."""
    while True:
        if clock.is_file():
            database.clock_offset = float(clock.read_text() or database.clock_offset)
        time.sleep(0.02)


def main(home: Path, url: str, listener: socket.socket) -> None:
    """Serve until this process is killed; its output goes to `service.log` in its home."""
    with (home / "service.log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    turns.TURN_SECONDS = 2.0  # until the turn that a killed service left behind expires
    settings = Settings(home=home, database_url=SecretStr(url), lease_seconds=3, max_losses=100)
    served = create_app(settings, timings=Timings(scheduler_seconds=0.05))
    threading.Thread(target=follow, args=[home / "clock", served.state.service.core.database], daemon=True).start()
    Server(config(served), lambda: None, lambda: None).run(sockets=[listener])
