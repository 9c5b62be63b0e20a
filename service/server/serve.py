"""The service in the foreground with its fleet (`luthier serve`), and the parts that Embedded shares."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn

from luthier.service.errors import RefusedToStart
from luthier.service.fleet.local import LocalFleet
from luthier.service.server.app import Tokens, create_app
from luthier.service.server.connection import allow_many_files, notice_lost_peers, protocol
from luthier.service.server.timings import DEFAULT, Timings
from luthier.service.settings import Settings

log = logging.getLogger("luthier")


def listen(settings: Settings) -> socket.socket:
    """Return the listening socket of the settings' host and port.

    Raises:
        RefusedToStart: no token is set and the host is not a loopback address, or the port is taken.
    """
    if not settings.loopback and settings.token is None:
        raise RefusedToStart(
            f"{settings.host} can be reached from other machines, and no token is set: set LUTHIER_TOKEN "
            "(`openssl rand -hex 24` makes one), or listen on 127.0.0.1."
        )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only so
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        notice_lost_peers(listener)
        listener.bind((settings.host, settings.port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise RefusedToStart(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. Choose another with --port."
        ) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL at which workers of this machine reach a listening socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def local_fleet(settings: Settings, url: str, tokens: Tokens, data_roots: str | None) -> LocalFleet:
    """Return the workers of this machine, not started.

    Args:
        settings: how many workers, and the home folder.
        url: the service.
        tokens: the fleet's token is given to the workers.
        data_roots: folders, separated by colons, that data and models may lie in; None for no limit.
    """
    return LocalFleet(
        url,
        tokens.fleet,
        data_roots=data_roots,
        cpu_workers=settings.cpu_workers or 1,
        workers_per_gpu=settings.workers_per_gpu,
        home=settings.home.resolve(),
    )


class Server(uvicorn.Server):
    """A uvicorn server that calls `on_start` once it answers and `on_stop` before it stops answering.

    So a fleet starts when its service is there, and gives its trials back while it still is.
    """

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None], on_stop: Callable[[], None]) -> None:
        """Take the two calls; `on_stop` runs in a thread and may block."""
        super().__init__(config)
        self._on_start = on_start
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, then call `on_start`."""
        await super().startup(sockets)
        if self.started:
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Call `on_stop`, then stop answering."""
        await asyncio.get_running_loop().run_in_executor(None, self._on_stop)
        await super().shutdown(sockets)


def config(app: object, timings: Timings = DEFAULT) -> uvicorn.Config:
    """Return uvicorn's configuration for an application of `create_app`."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=timings.request_stop_seconds,
        timeout_keep_alive=timings.keep_alive_seconds,
        server_header=False,
        http=protocol(timings),
        ws="none",
    )


def serve(settings: Settings, timings: Timings = DEFAULT) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        RefusedToStart: no token beyond loopback, the port is taken, or the database cannot be used.
        NewerSchema: a newer Luthier wrote the database.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    allow_many_files()
    listener = listen(settings)
    with listener:
        tokens = Tokens.of(settings)
        app = create_app(settings, tokens, timings=timings)
        url = url_of(listener)
        roots = settings.data_roots or f"{settings.home.resolve() / 'data'}:{Path.cwd()}"
        fleet = local_fleet(settings, url, tokens, roots) if settings.fleet == "local" else None

        def start() -> None:
            log.info("serving on %s; docs at %s/docs, dashboard at %s/dashboard", url, url, url)
            if fleet is not None:
                fleet.start()

        def stop() -> None:
            if fleet is not None:
                fleet.stop(timeout_seconds=timings.fleet_stop_seconds)

        Server(config(app, timings), start, stop).run(sockets=[listener])
