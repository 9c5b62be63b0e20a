"""Hang-ups: a client of a stream of events that goes away while an event is written to it.

`server/app.py` puts the layer around the application.
"""

from anyio import BrokenResourceError
from starlette.types import ASGIApp, Receive, Scope, Send


class HangUps:
    """End a request whose client has hung up without a word: FastAPI raises then, from its own stream of events."""

    def __init__(self, app: ASGIApp) -> None:
        """Put the layer around `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request; whatever else is raised with a hang-up goes on."""
        try:
            await self.app(scope, receive, send)
        except* BrokenResourceError:
            pass  # nobody reads any more
