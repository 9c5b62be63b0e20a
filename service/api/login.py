"""The login page for browsers: a form for a user's token, answered with a cookie; and the end of a login.

Tries are counted, so that nobody guesses at speed: wrong ones of the last minute, for each address and in all. Bearer
tokens are not limited, for a worker with an old token would shut out the others behind its proxy.
"""

import math
import time
from collections import deque
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from luthier.service.access.refusals import network_of
from luthier.service.api.auth import COOKIE, COOKIE_SECONDS, Guard, local_path
from luthier.service.api.pages import render
from luthier.service.errors import Invalid, Unsupported

WINDOW_SECONDS = 60.0  # over which wrong tries count; nobody is shut out for longer
TRIES = 5  # wrong ones of an address within the window
ALL_TRIES = 50  # wrong ones of all addresses within the window
FORM = "application/x-www-form-urlencoded"


class Tries:
    """The wrong tries of the last minute. It belongs to one event loop: nothing may wait between its two calls."""

    def __init__(self) -> None:
        """Begin without any."""
        self._wrong: deque[tuple[float, str]] = deque()  # (time, network), the oldest first

    def wait_seconds(self, address: str) -> int:
        """Return how many seconds an address must wait before its next try; 0 for none."""
        now = time.monotonic()
        while self._wrong and self._wrong[0][0] <= now - WINDOW_SECONDS:
            self._wrong.popleft()
        own = [at for at, network in self._wrong if network == network_of(address)]
        everybody = [at for at, _ in self._wrong]
        until = [times[-limit] for times, limit in ((own, TRIES), (everybody, ALL_TRIES)) if len(times) >= limit]
        return math.ceil(max(until) + WINDOW_SECONDS - now) if until else 0

    def add_wrong(self, address: str) -> None:
        """Count a wrong try."""
        self._wrong.append((time.monotonic(), network_of(address)))


def install(app: FastAPI, guard: Guard) -> None:
    """Add the login page to `app`; `guard` knows the tokens."""
    tries = Tries()

    @app.get("/login", include_in_schema=False)
    def _page(next: str = "/") -> HTMLResponse:
        return render("login.html", next=local_path(next), message="")

    @app.post("/login", include_in_schema=False)
    async def _login(request: Request) -> Response:
        token, target = await _form(request)
        address = request.client.host if request.client else ""
        wait = tries.wait_seconds(address)
        if wait:
            message = f"Too many wrong tokens; try again in {wait} seconds."
            page = render("login.html", 429, next=target, message=message)
            page.headers["Retry-After"] = str(wait)
            return page
        login = await guard.who.log_in(token)
        if login is None:
            tries.add_wrong(address)
            return render("login.html", 401, next=target, message="That is not this service's token.")
        request.state.caller, cookie = login
        response = RedirectResponse(target, 303)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, cookie, COOKIE_SECONDS, httponly=True, samesite="strict", secure=secure)
        return response

    @app.post("/logout", include_in_schema=False)
    def _logout() -> Response:
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response


async def _form(request: Request) -> tuple[str, str]:
    """Return the token of a login's form, and the path to go to. Raises Unsupported, Invalid."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Unsupported(f"The login takes a form as {FORM}.")
    try:
        fields = parse_qs((await request.body()).decode("utf-8"), max_num_fields=10)
        return fields["token"][0], local_path(fields.get("next", ["/"])[0])
    except (ValueError, KeyError):
        raise Invalid("The login's form has a field `token`, and perhaps `next`, as UTF-8 text.") from None
