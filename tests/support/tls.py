"""A TLS end before a service, as a reverse proxy is one, and a proxy that clients must CONNECT through: both real."""

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TypeVar


class Relay:
    """A listener on a free port of the loopback, with a thread for each connection and direction.

    Attributes:
        port: its own.
        taken: connections that it took.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.taken = 0
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def meet(self, client: socket.socket) -> tuple[socket.socket, socket.socket] | None:
        """Return both ends of a connection that is to be relayed; None where there is nothing to relay."""
        raise NotImplementedError

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.taken += 1
                threading.Thread(target=self._relay, args=[client], daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        self._open.add(client)
        with closing(client), contextlib.suppress(OSError):
            ends = self.meet(client)
            if ends is None:
                return
            near, far = ends
            self._open.update(ends)
            back = threading.Thread(target=_pump, args=[far, near], daemon=True)
            with closing(near), closing(far):
                back.start()
                _pump(near, far)
                back.join(30)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(2**16):
            target.sendall(part)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class TlsEnd(Relay):
    """The end of TLS before a service on another port of the loopback."""

    def __init__(self, context: ssl.SSLContext, service_port: int) -> None:
        self._context, self._service_port = context, service_port
        super().__init__()

    def meet(self, client: socket.socket) -> tuple[socket.socket, socket.socket] | None:
        client.settimeout(30)
        near = self._context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        try:
            near.do_handshake()
        except ssl.SSLError:  # the alert is sent; what the client sent meanwhile is read, or a reset would overtake it
            with closing(near):
                socket.socket.shutdown(near, socket.SHUT_WR)
                while socket.socket.recv(near, 4096):
                    pass
            return None
        return near, socket.create_connection(("127.0.0.1", self._service_port))


class ConnectProxy(Relay):
    """A proxy for CONNECT.

    Attributes:
        targets: what it was asked for, `host:port` each.
    """

    def __init__(self, leads_to: dict[str, int], password: str | None = None) -> None:
        """Take the port of the loopback that each `host:port` stands for, and `name:password` that it asks for."""
        self._leads_to, self._password = leads_to, password
        self.targets: list[str] = []
        super().__init__()

    def meet(self, client: socket.socket) -> tuple[socket.socket, socket.socket] | None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        lines = head.decode().split("\r\n")
        target = lines[0].split()[1]
        self.targets.append(target)
        expected = base64.b64encode((self._password or "").encode()).decode()
        given = next((line.split()[-1] for line in lines if line.lower().startswith("proxy-authorization:")), "")
        if self._password is not None and given != expected:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return None
        if target not in self._leads_to:
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return None
        far = socket.create_connection(("127.0.0.1", self._leads_to[target]))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return client, far


R = TypeVar("R", bound=Relay)


@contextmanager
def closed_after(relay: R) -> Iterator[R]:
    """Close a relay when the block ends."""
    try:
        yield relay
    finally:
        relay.close()
