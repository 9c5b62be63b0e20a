"""The service inside another program, for `luthier run`, `luthier plan` and tests.

They speak HTTP to it as to any other service; there is no second way to run a study.
"""

import secrets
import threading
from types import TracebackType
from typing import Literal, Self

from luthier.service.server.app import Tokens, create_app
from luthier.service.server.serve import Server, config, listen, local_fleet, url_of
from luthier.service.server.timings import DEFAULT, Timings
from luthier.service.settings import Settings


class Embedded:
    """A service in a thread, on a free loopback port, behind a token of its own; a context manager.

    Entering starts the service and its fleet; leaving stops both.

    Attributes:
        url: the service, as http://127.0.0.1:8000.
        token: the users' token.
        tokens: all tokens, the fleet's too.
    """

    def __init__(
        self,
        settings: Settings,
        study: str | None,
        fleet: Literal["local", "none"] = "local",
        timings: Timings = DEFAULT,
    ) -> None:
        """Open the port and the database; nothing runs yet.

        Args:
            settings: those of a service; host and port are replaced.
            study: the one study whose work it hands out, so that other unfinished studies of the database are left
                alone; None hands out the work of plans only.
            fleet: `local` starts workers on this machine, `none` starts none.
            timings: intervals and deadlines.

        Raises:
            RefusedToStart: the database cannot be used.
            NewerSchema: a newer Luthier wrote the database.
        """
        self._settings = settings.model_copy(update={"host": "127.0.0.1", "port": 0})
        self._listener = listen(self._settings)
        self.url = url_of(self._listener)
        self.token = secrets.token_urlsafe(24)
        self.tokens = tokens = Tokens(user=self.token, worker=None)
        try:
            app = create_app(self._settings, tokens, only=study or "", timings=timings)
        except BaseException:
            self._listener.close()
            raise
        self._fleet = None
        if fleet == "local":
            kind = f"run-{study[:40]}" if study else "plan"
            self._fleet = local_fleet(self._settings, self.url, tokens, settings.data_roots, kind)
        self._timings = timings
        self._answers = threading.Event()
        self._server = Server(config(app, timings), self._answers.set, lambda: None)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, name="luthier-service", daemon=True
        )

    @property
    def problem(self) -> str | None:
        """A sentence once no worker stays up, so that no work will be done; None otherwise."""
        return self._fleet.problem if self._fleet is not None else None

    def __enter__(self) -> Self:
        """Start the service, and the fleet once it answers. Raises RuntimeError if it does not start."""
        self._thread.start()
        while not self._answers.wait(0.1):
            if not self._thread.is_alive():
                raise RuntimeError("The embedded service did not start; its log says why.")
        if self._fleet is not None:
            self._fleet.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the fleet, then the service."""
        if self._fleet is not None:
            self._fleet.stop(timeout_seconds=self._timings.fleet_stop_seconds)
        self._server.should_exit = True
        self._thread.join(timeout=self._timings.embedded_stop_seconds)
        self._listener.close()
