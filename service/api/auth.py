"""Access control: who makes a request, whether it may, and in which project; before any route sees it.

`create_app` installs it. Without a token the service answers on loopback only, to requests that name this machine as
their host, so that a web page elsewhere can reach it neither by DNS rebinding nor by a cross-site request. What a
route asks is in `needs.py`, who calls in `callers.py`; whatever runs for a request asks `caller.current()`.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.service import caller as callers
from luthier.service.access.audit import AuditLog
from luthier.service.api.audit_record import Record, Recorder
from luthier.service.api.callers import NOBODY, Callers
from luthier.service.api.credentials import COOKIE, COOKIE_SECONDS
from luthier.service.api.needs import OPEN, Need
from luthier.service.api.request_project import project_of
from luthier.service.api.route_table import KnownRoute, RouteTable
from luthier.service.caller import Caller
from luthier.service.errors import Forbidden, Problem, Unauthorized
from luthier.studies.host import is_loopback

__all__ = ["COOKIE", "COOKIE_SECONDS", "OPEN", "Guard", "GuardMiddleware", "install", "local_path"]

ProblemPage = Callable[[Request, Problem], Response]
WORKERS = "/v1/worker/"
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:[0-9]*)?")  # a Host header: name or address, then perhaps a port
CURES = {
    callers.Scope.WORKER: "Workers present LUTHIER_WORKER_TOKEN, or a token with this scope.",
    callers.Scope.ADMIN: "Ask an admin of the service, or log in with an admin's token.",
}
CURE = "Ask an admin for a token with it: `luthier token create NAME --scope {scope}`."


class Guard:
    """Decide over each request before any route sees it; safe to share between threads."""

    def __init__(self, who: Callers) -> None:
        """Take what names callers."""
        self.who = who

    async def admit(self, request: Request, route: KnownRoute) -> Caller:
        """Return the caller of a request that may reach its route, with the project that it is about.

        Raises:
            Unauthorized: the route needs a token (or cookie), and the request has no valid one.
            Forbidden: the request comes from a page of another site, or without a token from another machine; or its
                token lacks the scope, or is of another project.
            Invalid: the request names no project that can be.
            Unavailable: the database, which knows the tokens, is away.
        """
        self._check_site(request)
        if route.need is Need.OPEN:
            return NOBODY
        is_workers = request.url.path.startswith(WORKERS)
        caller = await (self.who.of_worker(request) if is_workers else self.who.of_user(request))
        request.state.caller = caller
        if route.need is not Need.ANY and callers.Scope(route.need) not in caller.scopes:
            raise _lacks(caller, callers.Scope(route.need))
        return caller if is_workers else replace(caller, project=project_of(request, caller))

    def _check_site(self, request: Request) -> None:
        host = request.headers.get("host", "")
        if self.who.tokens.user is None and not _names_this_machine(host):
            raise Forbidden("Without a token this service answers to localhost only; set LUTHIER_TOKEN to change that.")
        origin = request.headers.get("origin")
        if origin is not None and request.method not in ("GET", "HEAD") and urlsplit(origin).netloc != host:
            raise Forbidden("Requests from pages of other sites are refused.")


def _lacks(caller: Caller, scope: callers.Scope) -> Forbidden:
    """Return the refusal of a caller whose token lacks a scope."""
    has = ", ".join(sorted(caller.scopes)) or "none"
    cure = CURES.get(scope, CURE.format(scope=scope))
    return Forbidden(f"This needs the scope {scope}, and the token {caller.name} has {has}. {cure}")


def _names_this_machine(host: str) -> bool:
    """Return whether a Host header names the loopback (its address, or `localhost`), with or without a port."""
    match = HOST.fullmatch(host)
    return match is not None and is_loopback(match[1].strip("[]"))


class GuardMiddleware:
    """Refuse requests as the guard says; a plain ASGI application, so that streams pass through untouched."""

    def __init__(self, app: ASGIApp, guard: Guard, log: AuditLog, page: ProblemPage, routes: FastAPI) -> None:
        """Put `guard` before `app`.

        Args:
            app: what it guards.
            guard: decides.
            log: of who did what.
            page: shows a browser why it is refused.
            routes: the application whose routes it knows, all of them there by now.
        """
        self.app = app
        self.guard = guard
        self.page = page
        self.recorder = Recorder(log)
        self.table = RouteTable(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused HTTP request (a browser's page is led to the login); hand on everything else."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        route = self.table.find(scope["method"], scope["path"])
        record = Record(request, route, send)
        try:
            await self._answer(request, route, receive, record.send)
        finally:
            await self.recorder.keep(record)

    async def _answer(self, request: Request, route: KnownRoute, receive: Receive, send: Send) -> None:
        try:
            caller = await self.guard.admit(request, route)
        except Problem as problem:
            with callers.acting(NOBODY):
                await self._refused(request, problem)(request.scope, receive, send)
            return
        request.state.caller = caller
        request.state.may_write = callers.Scope.WRITE in caller.scopes
        with callers.acting(caller):
            await self.app(request.scope, receive, send)

    def _refused(self, request: Request, problem: Problem) -> Response:
        """Return the answer to a refused request."""
        browser = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if browser and isinstance(problem, Unauthorized):
            return RedirectResponse(f"/login?next={local_path(request.url.path)}", 303)
        return self.page(request, problem) if browser else problem.response()


def install(app: FastAPI, guard: Guard, log: AuditLog, page: ProblemPage) -> None:
    """Put `guard` before all routes of `app`, and what they do into a log; browsers are refused by a page."""
    app.add_middleware(GuardMiddleware, guard=guard, log=log, page=page, routes=app)


def local_path(path: str) -> str:
    """Return `path` if it is one of this service's, without markup; else that of all studies."""
    safe = path.startswith("/") and not path.startswith("//") and all(c.isalnum() or c in "/-_." for c in path)
    return path if safe else "/"
