"""The service inside another program: `luthier run` and `luthier plan` go the same way as everything else."""

import secrets
import threading
from types import TracebackType
from typing import Literal, Self

from luthier.service.server.app import Tokens, create_app
from luthier.service.server.serve import Server, config, listen, local_fleet, url_of
from luthier.service.settings import Settings


class Embedded:
    """A service on a free loopback port, behind a token of its own, with a local fleet; ended on exit.

    `study`: the one study whose work it hands out, so that other unfinished studies in the database are left be;
    None: nothing but plans.
    """

    def __init__(self, settings: Settings, study: str | None, fleet: Literal["local", "none"] = "local") -> None:
        self._settings = settings.model_copy(update={"host": "127.0.0.1", "port": 0})
        self._listener = listen(self._settings)
        self.url = url_of(self._listener)
        self.token = secrets.token_urlsafe(24)
        self.tokens = tokens = Tokens(user=self.token, worker=None)
        app = create_app(self._settings, tokens, only=study or "")
        self._fleet = local_fleet(self._settings, self.url, tokens, settings.data_roots) if fleet == "local" else None
        self._answers = threading.Event()
        self._server = Server(config(app), self._answers.set, lambda: None)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, name="luthier-service", daemon=True
        )

    @property
    def problem(self) -> str | None:
        """Why nothing will ever be done: no worker stays up."""
        return self._fleet.problem if self._fleet is not None else None

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._answers.wait(0.1):
            if not self._thread.is_alive():
                raise RuntimeError("The embedded service did not start; its log says why.")
        if self._fleet is not None:
            self._fleet.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._fleet is not None:
            self._fleet.stop(timeout_seconds=8.0)
        self._server.should_exit = True
        self._thread.join(timeout=15)
        self._listener.close()
