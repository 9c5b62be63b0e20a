"""A service in a process of its own, on a socket that outlives it: `python -m tests.service.serving HOME URL FD`.

Its clock is the database's plus the seconds that the file HOME/clock holds, if there is one.
"""

import socket
import sys
import threading
import time
from pathlib import Path

from pydantic import SecretStr

from service import app, dispatch
from service.app import create_app
from service.database import Database
from service.serve import Server, config
from service.settings import Settings


def follow(clock: Path, database: Database) -> None:
    """Move the service's clock as the file says."""
    while True:
        if clock.is_file():
            database.clock_offset = float(clock.read_text() or database.clock_offset)
        time.sleep(0.02)


def main(home: str, url: str, descriptor: str) -> None:
    dispatch.ASK_SECONDS = 2.0  # how long a turn lies idle that a killed service left behind
    settings = Settings(home=Path(home), database_url=SecretStr(url), lease_seconds=3, max_losses=100)
    app.SCHEDULER_SECONDS = 0.05
    served = create_app(settings)
    threading.Thread(target=follow, args=[Path(home, "clock"), served.state.service.core.database], daemon=True).start()
    server = Server(config(served), lambda: None, lambda: None)
    server.run(sockets=[socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main(*sys.argv[1:])
