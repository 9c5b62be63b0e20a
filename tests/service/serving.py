"""A service in a process of its own, on a socket that outlives it: `python -m tests.service.serving HOME URL FD`."""

import socket
import sys
from pathlib import Path

from pydantic import SecretStr

from service import dispatch
from service.app import create_app
from service.serve import Server, config
from service.settings import Settings


def main(home: str, url: str, descriptor: str) -> None:
    dispatch.ASK_SECONDS = 2.0  # how long a turn lies idle that a killed service left behind
    settings = Settings(home=Path(home), database_url=SecretStr(url), lease_seconds=3, max_losses=100)
    server = Server(config(create_app(settings)), lambda: None, lambda: None)
    server.run(sockets=[socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main(*sys.argv[1:])
