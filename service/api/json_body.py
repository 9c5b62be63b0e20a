"""Request bodies that are JSON messages, as routes with a pydantic model take them: read as JSON, or a sentence.

Python's own reader takes the last of two equal keys and numbers that JSON does not have, and its errors speak of
delimiters. A router whose routes take such bodies has `route_class=JsonRoute`. Specs and schedules: see `body.py`.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from luthier.service.errors import unreadable
from luthier.studies.documents import DocumentError, decode, parse_message

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRoute(APIRoute):
    """A route whose body is a JSON object."""

    def get_route_handler(self) -> Handler:
        """Return FastAPI's handler of the route, which reads the body by `_JsonRequest.json`."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_json


class _JsonRequest(Request):
    """A request whose body is read strictly."""

    async def json(self) -> dict[str, Any]:
        """Return the body's object. Raises Invalid, which `error_handlers.py` finds as the cause of FastAPI's error."""
        try:
            return parse_message(decode(await self.body()))
        except DocumentError as error:
            raise unreadable(error) from None
