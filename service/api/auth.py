"""Access control: bearer tokens for programs and workers, for browsers the cookie that `login.py` sets.

`create_app` installs it before any route. Without a token the service answers on loopback only, to requests that name
this machine as their host, so that a web page elsewhere can reach it neither by DNS rebinding nor by a cross-site
request. Tokens are compared in constant time, and are neither logged nor stored.
"""

import hashlib
import hmac
import re
import time
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from itsdangerous import BadSignature, Signer
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.service.errors import Forbidden, Problem, Unauthorized
from luthier.studies.host import is_loopback

OPEN = ("/healthz", "/readyz", "/login", "/favicon.ico", "/favicon.svg", "/site.css")  # paths that need no token
COOKIE = "luthier"
COOKIE_SECONDS = 12 * 3600  # a working day
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:[0-9]*)?")  # a Host header: name or address, then perhaps a port


class Guard:
    """Decide over each request before any route sees it; safe to share between threads."""

    def __init__(self, token: str | None, worker_tokens: list[str]) -> None:
        """Take the tokens.

        Args:
            token: the users' token; None lets every local request pass.
            worker_tokens: the tokens that workers may present; empty lets every worker pass.
        """
        self._token = token
        self._worker_tokens = worker_tokens
        # The signed value is the time of expiry, not (as in TimestampSigner) that of signing, which is refused by a
        # service of the same database whose clock is a little behind.
        self._signer = Signer(token or "", salt="luthier cookie", key_derivation="hmac", digest_method=hashlib.sha256)

    def check(self, request: Request) -> None:
        """Let the request pass, or refuse it.

        Raises:
            Unauthorized: the path needs a token (or cookie), and the request has no valid one.
            Forbidden: the request comes from a page of another site, or without a token from another machine.
        """
        path = request.url.path
        self._check_site(request)
        if path.startswith("/v1/worker/"):
            bearer = _bearer(request)
            if self._worker_tokens and not any(_equal(bearer, token) for token in self._worker_tokens):
                told = "That is not this service's worker token" if bearer else "Workers present the worker token"
                raise Unauthorized(f"{told}: set LUTHIER_WORKER_TOKEN to the same on both sides.")
        elif self._token is not None and path not in OPEN and not self._is_user(request, self._token):
            raise Unauthorized(_refusal(request))

    def _is_user(self, request: Request, token: str) -> bool:
        return _equal(_bearer(request), token) or self._is_valid_cookie(request.cookies.get(COOKIE, ""))

    def _check_site(self, request: Request) -> None:
        host = request.headers.get("host", "")
        if self._token is None and not _names_this_machine(host):
            raise Forbidden("Without a token this service answers to localhost only; set LUTHIER_TOKEN to change that.")
        origin = request.headers.get("origin")
        if origin is not None and request.method not in ("GET", "HEAD") and urlsplit(origin).netloc != host:
            raise Forbidden("Requests from pages of other sites are refused.")

    def login(self, presented: str) -> str | None:
        """Return a cookie for the right token, valid for COOKIE_SECONDS; None for a wrong one."""
        if self._token is None or not _equal(presented, self._token):
            return None
        return self._signer.sign(str(int(time.time()) + COOKIE_SECONDS)).decode()

    def _is_valid_cookie(self, cookie: str) -> bool:
        try:
            return int(self._signer.unsign(cookie)) > time.time()
        except BadSignature:
            return False


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _refusal(request: Request) -> str:
    """Return why a user's request is refused: its token is wrong, its login is over, or it has neither."""
    if _bearer(request):
        return "That is not this service's token: the request has another one."
    if "authorization" in request.headers:
        return "The header Authorization holds no token: send `Authorization: Bearer <token>`."
    if COOKIE in request.cookies:
        return "The login has ended, or is another service's: log in at /login."
    return "This service asks for a token: send `Authorization: Bearer <token>`, or log in at /login."


def _names_this_machine(host: str) -> bool:
    """Return whether a Host header names the loopback (its address, or `localhost`), with or without a port."""
    match = HOST.fullmatch(host)
    return match is not None and is_loopback(match[1].strip("[]"))


def _equal(presented: str, token: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(presented.encode(), token.encode())


class GuardMiddleware:
    """Refuse requests as the guard says; a plain ASGI application, so that streams pass through untouched."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        """Put `guard` before `app`."""
        self.app = app
        self.guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused HTTP request (a browser's page is led to the login); hand on everything else."""
        answer: Response | None = None
        if scope["type"] == "http":
            request = Request(scope)
            try:
                self.guard.check(request)
            except Unauthorized as problem:
                browser = request.method == "GET" and "text/html" in request.headers.get("accept", "")
                answer = (
                    RedirectResponse(f"/login?next={local_path(request.url.path)}", 303)
                    if browser
                    else problem.response()
                )
            except Problem as problem:
                answer = problem.response()
        await (answer or self.app)(scope, receive, send)


def install(app: FastAPI, guard: Guard) -> None:
    """Put `guard` before all routes of `app`."""
    app.add_middleware(GuardMiddleware, guard=guard)


def local_path(path: str) -> str:
    """Return `path` if it is one of this service's, without markup; else that of all studies."""
    safe = path.startswith("/") and not path.startswith("//") and all(c.isalnum() or c in "/-_." for c in path)
    return path if safe else "/"
