"""What the log of actions has of a request: who, in which project, which route about what, and how it was answered.

The access control has a `Record` for each request. Of a request's body and headers nothing gets here but its address.
"""

import logging
from urllib.parse import unquote, urlsplit

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import Message, Send

from luthier.service.access.audit import AuditLog, Entry
from luthier.service.api.callers import NOBODY
from luthier.service.api.needs import QUIET
from luthier.service.api.route_table import KnownRoute
from luthier.service.caller import Caller

log = logging.getLogger("luthier")

READS = ("GET", "HEAD", "OPTIONS")  # methods that change nothing
SUBJECT_CHARACTERS = 500


class Record:
    """A request and its answer."""

    def __init__(self, request: Request, route: KnownRoute, send: Send) -> None:
        """Take the request, its route, and what sends its answer."""
        self._request = request
        self._route = route
        self._send = send
        self._status = 500  # of a request that ends in an error of ours
        self._location = ""

    async def send(self, message: Message) -> None:
        """Send a part of the answer, and remember its status."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._location = Headers(raw=message["headers"]).get("location", "")
        await self._send(message)

    def entry(self) -> Entry | None:
        """Return the entry for the log; None for a request that belongs into none."""
        is_change = self._request.method not in READS and self._route.line not in QUIET
        if self._status not in (401, 403) and not (is_change and (self._status < 400 or self._status == 500)):
            return None
        caller: Caller = getattr(self._request.state, "caller", NOBODY)
        address = self._request.client.host[:64] if self._request.client else ""
        who = (caller.name, caller.token_id, caller.project)
        return Entry(*who, self._route.line[:128], self._subject(), self._status, address or None)

    def _subject(self) -> str | None:
        """Return the values in the path; without any, the name of what was made."""
        text = "/".join(self._route.values.values())
        if not text and self._status in (200, 201):
            text = unquote(urlsplit(self._location).path.rpartition("/")[2])
        return text[:SUBJECT_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}") or None


class Recorder:
    """Writes records to the log after their answers. It belongs to one event loop."""

    def __init__(self, log: AuditLog) -> None:
        """Take the log."""
        self._log = log
        self._writer: CapacityLimiter | None = None

    async def keep(self, record: Record) -> None:
        """Write a record, if it belongs into the log; its client has the answer already, and waits for nothing."""
        entry = record.entry()
        if entry is None or not self._log.add(entry):
            return
        if self._writer is None:
            self._writer = CapacityLimiter(1)
        try:
            await anyio.to_thread.run_sync(self._log.write, limiter=self._writer)
        except SQLAlchemyError as error:
            log.warning("the log of actions waits: the database did not take it: %s", type(error).__name__)
