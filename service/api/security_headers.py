"""Headers that keep every answer in its place, and answers to HEAD: the outermost middleware.

Whatever a route sets itself stays. A page may do what its line in POLICIES says, and anything else nothing.
"""

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.service.api import docs_page, plot_page

CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
OUR_PAGES = (  # files of this service, and nothing written into a page: neither a script nor a style
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
DASHBOARD = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
POLICIES = (
    (re.compile(r"/(login|compare|workers|audit|usage|projects)?"), OUR_PAGES),
    (re.compile(r"/((new|data|tokens|schedules)(/.*)?|studies/.*)"), OUR_PAGES),
    (re.compile(r"/v1/(studies|schedules)/[^/]*/plots/.*"), plot_page.POLICY),
    (re.compile(r"/docs(/.*)?"), docs_page.POLICY),
    (re.compile(r"/(dashboard|static|csv|artifacts|incompatible-rdb-schema)(/.*)?"), DASHBOARD),
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: browsers then send the login's form with `Origin: null`, which is refused
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


HEAD = "luthier.head"  # an extension of a request's scope: its answer's beginning alone is sent


def is_head(scope: Scope) -> bool:
    """Return whether a request that looks like GET is HEAD: a stream then ends at once."""
    return HEAD in scope.get("extensions", {})


class SecurityHeaders:
    """Add the headers to every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        """Put the headers around `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on the request, and add to its answer what it lacks."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        policy = next((policy for pattern, policy in POLICIES if pattern.fullmatch(path)), CLOSED)
        framed = "SAMEORIGIN" if policy is plot_page.POLICY else "DENY"
        # files of the dashboard are asked for again, but sent again only when they have changed
        kept = "private, no-cache" if path.startswith("/static/") else "no-store"
        missing = {**HEADERS, "Content-Security-Policy": policy, "X-Frame-Options": framed, "Cache-Control": kept}

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in missing.items():
                    headers.setdefault(name, value)
                if policy is DASHBOARD:
                    headers.append("Content-Security-Policy", policy)  # it has one of its own: both hold
            await send(message)

        await self.app(scope, receive, add)


class HeadAsGet:
    """Answer HEAD wherever GET is answered: the same status and headers, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        """Put the answers to HEAD around `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask the application as GET would, and send the beginning of its answer only."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        ended = False

        async def beginning(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                await send(message)
            elif not ended:
                ended = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        # A file is named by its answer instead of read; Range means nothing for HEAD (RFC 9110, 14.2).
        extensions = {**scope.get("extensions", {}), "http.response.pathsend": {}, HEAD: {}}
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await self.app({**scope, "method": "GET", "extensions": extensions, "headers": headers}, receive, beginning)
