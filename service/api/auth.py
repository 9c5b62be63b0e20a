"""Who may call: a bearer token for programs, a login page and a cookie for browsers, another token for workers.

Without a token the service answers on loopback only, to requests that name this machine as their host, so that a web
page elsewhere can reach it neither by DNS rebinding nor by a cross-site request.
"""

import base64
import hashlib
import hmac
import re
import time
from urllib.parse import urlsplit

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.service.errors import Forbidden, Problem, TooLarge, Unauthorized
from luthier.studies.host import is_loopback

OPEN = ("/healthz", "/readyz", "/login")
MAX_BODY_BYTES = 8 * 2**20  # of any body but workers' files; a report with a full log is the largest
COOKIE = "luthier"
COOKIE_SECONDS = 12 * 3600
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:[0-9]*)?")  # a Host header: name or address, then perhaps a port

LOGIN = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Luthier: log in</title><style>body{{font:16px system-ui;display:grid;place-items:center;min-height:90vh}}
form{{display:grid;gap:.8rem;width:20rem}}input,button{{font:inherit;padding:.5rem}}p{{color:#b00;min-height:1.2em}}</style>
<form method="post" action="/login"><h1>Luthier</h1><label for="token">Token of this service</label>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus required>
<input type="hidden" name="next" value="{next}"><button>Log in</button><p role="alert">{message}</p></form>"""


class Guard:
    """Decides over each request before any route sees it."""

    def __init__(self, token: str | None, worker_tokens: list[str]) -> None:
        self._token = token
        self._worker_tokens = worker_tokens

    def check(self, request: Request) -> None:
        """Raise Unauthorized or Forbidden, or let the request pass."""
        path = request.url.path
        self._same_site(request)
        if path.startswith("/v1/worker/"):
            bearer = _bearer(request)
            if self._worker_tokens and not any(_same(bearer, token) for token in self._worker_tokens):
                raise Unauthorized("Workers present the worker token: set LUTHIER_WORKER_TOKEN on both sides.")
        elif self._token is not None and path not in OPEN and not self._known(request, self._token):
            raise Unauthorized("Send `Authorization: Bearer <token>`, or log in at /login.")

    def _known(self, request: Request, token: str) -> bool:
        return _same(_bearer(request), token) or self._cookie_valid(request.cookies.get(COOKIE))

    def _same_site(self, request: Request) -> None:
        host = request.headers.get("host", "")
        if self._token is None and not _names_this_machine(host):
            raise Forbidden("Without a token this service answers to localhost only; set LUTHIER_TOKEN to change that.")
        origin = request.headers.get("origin")
        if origin is not None and request.method not in ("GET", "HEAD") and urlsplit(origin).netloc != host:
            raise Forbidden("Requests from pages of other sites are refused.")

    def login(self, presented: str) -> str | None:
        """The cookie for a right token; None for a wrong one."""
        if self._token is None or not _same(presented, self._token):
            return None
        expires = str(int(time.time()) + COOKIE_SECONDS)
        return f"{expires}.{self._signature(expires)}"

    def _cookie_valid(self, cookie: str | None) -> bool:
        expires, _, signature = (cookie or "").partition(".")
        if not expires.isascii() or not expires.isdigit() or not _same(signature, self._signature(expires)):
            return False
        return int(expires) > time.time()

    def _signature(self, expires: str) -> str:
        key = hashlib.sha256(b"luthier cookie " + (self._token or "").encode()).digest()
        return base64.urlsafe_b64encode(hmac.digest(key, expires.encode(), "sha256")).decode().rstrip("=")


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _names_this_machine(host: str) -> bool:
    """Whether a Host header names the loopback: by its address or as `localhost`, with or without a port."""
    match = HOST.fullmatch(host)
    return match is not None and is_loopback(match[1].strip("[]"))


def _same(presented: str, token: str) -> bool:
    return hmac.compare_digest(presented.encode(), token.encode())


class GuardMiddleware:
    """Plain ASGI, so that streams pass through untouched."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self.app, self.guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: Response | None = None
        if scope["type"] == "http":
            request = Request(scope)
            try:
                self.guard.check(request)
                _check_size(request)
            except Unauthorized as problem:
                browser = request.method == "GET" and "text/html" in request.headers.get("accept", "")
                answer = (
                    RedirectResponse(f"/login?next={_local(request.url.path)}", 303) if browser else problem.response()
                )
            except Problem as problem:
                answer = problem.response()
        await (answer or self.app)(scope, receive, send)


def _check_size(request: Request) -> None:
    """Refuse a body that says itself that it is too large; the framework cuts off one that does not."""
    announced = request.headers.get("content-length", "")
    files = request.url.path.startswith("/v1/worker/files/")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES and not files:
        raise TooLarge(f"The body has {announced} bytes; at most {MAX_BODY_BYTES} are taken.")


def install(app: FastAPI, guard: Guard) -> None:
    app.add_middleware(GuardMiddleware, guard=guard)

    @app.get("/login", include_in_schema=False)
    def _page(next: str = "/dashboard") -> HTMLResponse:
        return HTMLResponse(LOGIN.format(next=_local(next), message=""))

    @app.post("/login", include_in_schema=False)
    def _login(request: Request, token: str = Form(max_length=1000), next: str = Form("/dashboard")) -> Response:
        cookie = guard.login(token)
        if cookie is None:
            return HTMLResponse(LOGIN.format(next=_local(next), message="That is not this service's token."), 401)
        response = RedirectResponse(_local(next), 303)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, cookie, COOKIE_SECONDS, httponly=True, samesite="strict", secure=secure)
        return response


def _local(path: str) -> str:
    """A path of ours: never a redirect to another site, nor markup."""
    safe = path.startswith("/") and not path.startswith("//") and all(c.isalnum() or c in "/-_." for c in path)
    return path if safe else "/dashboard"
