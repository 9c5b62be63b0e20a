"""HTTP as bytes over a socket, for clients that behave as no library does."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.support.harness import Running


@contextmanager
def dialled(house: Running, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """A connection to the service; a read of it fails after 20 s."""
    address = urlsplit(house.url)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as line:
        if receive_buffer is not None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        line.settimeout(20)
        line.connect((address.hostname, address.port))
        yield line


def head(method: str, path: str, **headers: str) -> bytes:
    """The head of a request to this machine, with a blank line at its end."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(line: socket.socket) -> tuple[int, bytes]:
    """Return the status of the answer and all that came until its head was complete; 0 if the service hung up."""
    got = b""
    while b"\r\n\r\n" not in got:
        try:
            part = line.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            return 0, got
        got += part
    return int(got.split(b" ", 2)[1]), got


def hung_up(line: socket.socket) -> bool:
    """Wait until the service closes the connection, reading what it still sends; False if it goes on for 20 s."""
    try:
        while line.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True
