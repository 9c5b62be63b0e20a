"""The routes of the application as the access control sees them: which one a request will reach, and what it asks.

It is made of the application's own routes, in their order, so that both agree on the route of a path.
"""

import re
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path

from luthier.service.api.needs import EVERY_METHOD, NEEDS, OPEN, Need

BODILESS = {"HEAD": "GET"}  # a method -> the one that it is answered as


@dataclass(frozen=True)
class KnownRoute:
    """A route.

    Attributes:
        line: its method and path, as in NEEDS.
        need: what it asks.
        values: those in the request's path, by name.
    """

    line: str
    need: Need
    values: dict[str, str]


class RouteTable:
    """Finds the route of a request; it is made once, when all routes are there."""

    def __init__(self, app: FastAPI) -> None:
        """Take the routes of `app`."""
        self._routes: list[tuple[re.Pattern[str], frozenset[str] | None, str]] = []
        for route in iter_route_contexts(app.routes):
            if route.path is not None:
                pattern, _, _ = compile_path(route.path)
                methods: Any = route.methods
                self._routes.append((pattern, frozenset(methods) if methods else None, route.path))

    def lines(self) -> list[str]:
        """Return the line of each route and method; HEAD is answered as GET."""
        return [
            f"{method} {path}"
            for _, methods, path in self._routes
            for method in sorted((methods or {EVERY_METHOD}) - {"HEAD"})
        ]

    def find(self, method: str, path: str) -> KnownRoute:
        """Return the route of a request; where there is none, to be answered 404 or 405, one of any token's.

        Nobody needs a token to be told 405 of a path that needs none.
        """
        method = BODILESS.get(method, method)
        for pattern, methods, template in self._routes:
            match = pattern.match(path)
            if match is not None and (methods is None or method in methods):
                line = f"{EVERY_METHOD if methods is None else method} {template}"
                return KnownRoute(line, NEEDS.get(line, Need.ADMIN), match.groupdict())
        return KnownRoute(method, Need.OPEN if path in OPEN else Need.ANY, {})
