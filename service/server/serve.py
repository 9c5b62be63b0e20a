"""The service in the foreground with its fleet (`luthier serve`), and the parts that Embedded shares."""

import asyncio
import logging
import math
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import uvicorn
from fastapi import FastAPI

from luthier.service.errors import RefusedToStart
from luthier.service.fleet.local import LocalFleet
from luthier.service.server.app import Tokens, create_app
from luthier.service.server.connection import allow_many_files, notice_lost_peers, protocol
from luthier.service.server.connection_errors import AcceptErrors
from luthier.service.server.home import HomeLock
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


def local_fleet(
    settings: Settings, url: str, tokens: Tokens, data_roots: str | None, kind: str = "local"
) -> LocalFleet:
    """Return the workers of this machine, not started.

    Args:
        settings: how many workers, and the home folder.
        url: the service.
        tokens: the fleet's token is given to the workers.
        data_roots: folders, separated by colons, that data and models may lie in; None for no limit.
        kind: the beginning of the workers' names and of their logs': another one for each fleet of a home.
    """
    return LocalFleet(
        url,
        tokens.fleet,
        data_roots=data_roots,
        cpu_workers=settings.cpu_workers or 1,
        workers_per_gpu=settings.workers_per_gpu,
        home=settings.home.resolve(),
        kind=kind,
    )


class Server(uvicorn.Server):
    """A uvicorn server that calls `on_start` once it answers and `on_stop` before it stops answering.

    So a fleet starts when its service is there, and gives its trials back while it still is. Requests that wait for
    something to happen are answered when the stop begins, and no work is handed out from then on.
    """

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None], on_stop: Callable[[], None]) -> None:
        """Take the configuration of an application of `create_app`, and the two calls.

        `on_stop` runs in a thread and may block.
        """
        super().__init__(config)
        self._on_start = on_start
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, then call `on_start`."""
        asyncio.get_running_loop().set_exception_handler(AcceptErrors())
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what waits, call `on_stop`, then stop answering.

        Requests under way have `timeout_graceful_shutdown` seconds since the beginning, but at least one; uvicorn then
        cancels them, and says how many.
        """
        began = time.monotonic()
        cast(FastAPI, self.config.app).state.service.notifier.close()
        await asyncio.get_running_loop().run_in_executor(None, self._on_stop)
        left = (self.config.timeout_graceful_shutdown or 0) - (time.monotonic() - began)
        self.config.timeout_graceful_shutdown = max(math.ceil(left), 1)
        await super().shutdown(sockets)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Return whether a record of uvicorn is anything but the traceback of a request that the stop has cancelled."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def config(app: FastAPI, timings: Timings = DEFAULT) -> uvicorn.Config:
    """Return uvicorn's configuration for an application of `create_app`."""
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=timings.request_stop_seconds,
        timeout_keep_alive=timings.keep_alive_seconds,
        server_header=False,
        proxy_headers=False,  # the application reads them itself, and keeps the address of the socket's peer
        http=protocol(timings),
        ws="none",
    )


def serve(settings: Settings, timings: Timings = DEFAULT) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        HomeServed: another process serves this home.
        RefusedToStart: no token beyond loopback, the port is taken, or the database cannot be used.
        NewerSchema: a newer Luthier wrote the database.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    allow_many_files()
    with closing(HomeLock(settings.home)) as lock, listen(settings) as listener:
        tokens = Tokens.of(settings)
        app = create_app(settings, tokens, timings=timings)
        url = url_of(listener)
        roots = settings.data_roots or f"{settings.home.resolve() / 'data'}:{Path.cwd()}"
        fleet = local_fleet(settings, url, tokens, roots) if settings.fleet == "local" else None

        def start() -> None:
            lock.publish(url)
            log.info("serving on %s; docs at %s/docs, dashboard at %s/dashboard", url, url, url)
            if fleet is not None:
                fleet.start()

        def stop() -> None:
            if fleet is not None:
                fleet.stop(timeout_seconds=timings.fleet_stop_seconds)

        Server(config(app, timings), start, stop).run(sockets=[listener])
