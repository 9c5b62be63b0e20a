"""The limit on request bodies of every route, announced or sent in chunks: middleware behind the access control.

Nothing of a body that is announced as too large is read, and of a chunked one no more than the limit. FastAPI's own
`max_body_size` is not used: it answers text instead of a problem, and covers only routes that are included with it.
"""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.service.errors import TooLarge
from luthier.studies.documents import MAX_BYTES

LOGIN_BYTES = 2**12  # a token, and where to go
FORM_BYTES = 4 * MAX_BYTES  # a form writes three bytes for each that is no letter
REPORT_BYTES = 8 * 2**20  # the log of a report has a million characters, and JSON may write six bytes for each
TABLES = re.compile(r"/v1/studies/[^/]+/predict")  # paths that take a table, under a limit of their own
MESSAGES = re.compile(r"/v1/studies/[^/]+/(report|tell)")  # of the user's own trainers, with lines of a log
UPLOADS = re.compile(r"/v1/datasets|/data|/studies/[^/]+/predict")  # paths that count for themselves
# path, or its beginning -> bytes; None: models have the size they have. All others take MAX_BYTES, as a spec does.
LIMITS = (
    ("/login", LOGIN_BYTES),
    ("/new", FORM_BYTES),
    ("/v1/worker/files/", None),
    ("/v1/worker/", REPORT_BYTES),
)


class BodyLimit:
    """Answer 413 instead of the application as soon as a body is too large."""

    def __init__(self, app: ASGIApp, table_bytes: int = MAX_BYTES) -> None:
        """Put the limit before `app`; `table_bytes`: the most of a table that is sent to be predicted."""
        self.app = app
        self.table_bytes = table_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request whose body fits; cut off one that does not."""
        limit = self._limit(scope["path"]) if scope["type"] == "http" else None
        if limit is None:
            await self.app(scope, receive, send)
            return
        problem = TooLarge(f"The body is too large: {scope['path'][:100]} takes at most {limit} bytes.")
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced[:20]) > limit:
            await problem.response()(scope, receive, send)
            return
        await _Counted(limit, problem, scope, receive, send).run(self.app)

    def _limit(self, path: str) -> int | None:
        if TABLES.fullmatch(path):
            return self.table_bytes
        if MESSAGES.fullmatch(path):
            return REPORT_BYTES
        if UPLOADS.fullmatch(path):
            return None
        starts = (
            (start, limit) for start, limit in LIMITS if path == start or path.startswith(start.rstrip("/") + "/")
        )
        return next((limit for _, limit in starts), MAX_BYTES)


class _Counted:
    """A request whose body is counted while it is read."""

    def __init__(self, limit: int, problem: TooLarge, scope: Scope, receive: Receive, send: Send) -> None:
        self._limit, self._problem = limit, problem
        self._scope, self._receive, self._send = scope, receive, send
        self._bytes = 0
        self._answered = False

    async def run(self, app: ASGIApp) -> None:
        """Run the application; once the body is too large, what it does counts no more."""
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:
            if self._bytes <= self._limit:
                raise

    async def receive(self) -> Message:
        """Receive a part of the body. One too many is answered, and the application sees a client that hung up."""
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes <= self._limit:
            return message
        if not self._answered:
            self._answered = True
            await self._problem.response()(self._scope, self._receive, self._send)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send a part of the application's answer, unless the answer is ours."""
        if self._bytes <= self._limit:
            self._answered = True
            await self._send(message)
