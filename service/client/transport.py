"""The wire of the client: requests with the token, answers parsed, and every failure a ServiceError.

`Client` alone uses it. It knows no route.
"""

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from luthier.service.client.errors import Blocked, ServiceError, Unreachable
from luthier.service.client.patience import Patience
from luthier.service.schemas import Fault, Page, ProblemView
from luthier.studies.reach import BadWay, Way
from luthier.studies.text import without_credentials

PAGE = 500  # items of a request, the most that the service gives

M = TypeVar("M", bound=BaseModel)
Query = str | Sequence[str] | None  # a parameter of a listing, perhaps several times


class Transport:
    """HTTP to one service. Threads may share it, except while one of them closes it."""

    def __init__(
        self,
        url: str,
        token: str | None,
        timeout_seconds: float,
        project: str | None = None,
        ca: str | None = None,
        proxy: str | None = None,
        certificate: str | None = None,
    ) -> None:
        """Open no connection yet.

        Args:
            url: the service, as http://127.0.0.1:8000.
            token: sent as a bearer token, if there is one.
            timeout_seconds: how long to wait to connect, for a part of the answer, and to send a part of the request.
            project: named in each request; None: the token's own.
            ca: a PEM file or folder of the authorities that are trusted; None for the environment's.
            proxy: the proxy between; None for the environment's. This machine's loopback is never behind one.
            certificate: a PEM file with a client's certificate and key; None for the environment's.

        Raises:
            Unreachable: `url` is no URL; Blocked where one of the others cannot be used.
        """
        whole = url.rstrip("/")
        self.url = without_credentials(whole)  # for people, and for messages
        with self._reaching():
            httpx.URL(whole)
        try:
            urlsplit(whole)
        except ValueError as error:
            raise Unreachable(f"No service can be reached at {self.url}: {error}.") from None
        try:
            self._way = Way.to(whole, ca, certificate, proxy)
            self._options: dict[str, Any] = {
                "base_url": whole,
                "params": {"project": project} if project else {},
                "headers": {"Authorization": f"Bearer {token}"} if token else {},
                "timeout": timeout_seconds,
                **self._way.options(),
            }
        except BadWay as error:
            raise Blocked(str(error)) from None
        self._http = httpx.Client(**self._options)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request (`options` are httpx's) and return the successful answer. Raises ServiceError.

        It is sent again after the pause that the service asks for, unless that is long, or its body can be read once.
        A number that JSON cannot hold is refused here, as the service would.
        """
        faults = _not_finite(options.get("json"))
        if faults:
            raise ServiceError(422, "Invalid", "; ".join(map(str, faults)), faults)
        patience = Patience(method)
        while True:
            with self._reaching():
                response = self._http.request(method, path, **options)
            is_read_once = "files" in options or not isinstance(options.get("content", b""), bytes)
            if is_read_once or not patience.waits(response):
                self._check(response)
                return response

    def model(self, kind: type[M], method: str, path: str, **options: Any) -> M:
        """Send a request and return its answer parsed as a `kind`. Raises ServiceError."""
        response = self.request(method, path, **options)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError:
            detail = f"{self.url}{path} did not answer as Luthier does; check the URL."
            raise ServiceError(response.status_code, "Not understood", detail) from None

    def pages(
        self, kind: type[Page[M]], path: str, state: Query = None, limit: int | None = None, **query: Query
    ) -> Iterator[M]:
        """Yield the items of a listing, PAGE items a request.

        Args:
            kind: the class of its pages.
            path: its route.
            state: only those in this state, or one of these.
            limit: so many at most; None: all.
            query: further parameters of the route; None leaves one out.

        Raises:
            ServiceError: the service refuses, or does not answer.
        """
        given = {key: value for key, value in {"state": state, **query}.items() if value}
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            page = self.model(kind, "GET", path, params={**given, "limit": size})
            yield from page.items
            if page.next_cursor is None:
                return
            given["cursor"] = page.next_cursor
            left = None if left is None else left - len(page.items)

    @contextmanager
    def stream(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        """Get `path`; the block reads the successful answer's body. Raises ServiceError, also while it is read."""
        with self._reaching(), self._http.stream("GET", path, **options) as response:
            if response.is_error:
                response.read()
            self._check(response)
            yield response

    @asynccontextmanager
    async def stream_async(self, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        """Get `path` on the event loop, over a connection of its own, as `stream` does."""
        with self._reaching():
            async with httpx.AsyncClient(**self._options) as http, http.stream("GET", path, **options) as response:
                if response.is_error:
                    await response.aread()
                self._check(response)
                yield response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise self._no_answer(error) from None
        except httpx.InvalidURL as error:
            raise Unreachable(f"No service can be reached at {self.url}: {str(error).rstrip('.')}.") from None

    def _no_answer(self, error: httpx.TransportError) -> Unreachable:
        """Return what to raise where no answer came."""
        cure = self._way.explain(error)
        if cure is not None:
            return Blocked(cure)
        if isinstance(error, httpx.TimeoutException):
            return Unreachable(f"The service at {self.url} did not answer in time.")
        why = str(error).rstrip(".") or type(error).__name__
        return Unreachable(f"No service can be reached at {self.url}: {why}.")

    def _check(self, response: httpx.Response) -> None:
        """Raise ServiceError for anything but success, and Blocked where a proxy has answered."""
        cure = self._way.explain_answer(response.status_code)
        if cure is not None:
            raise Blocked(cure)
        _check(response)


def _check(response: httpx.Response) -> None:
    """Raise ServiceError for anything but success."""
    if response.is_success:
        return
    try:
        problem = ProblemView.model_validate_json(response.content)
    except ValidationError:
        status, reason = response.status_code, response.reason_phrase
        raise ServiceError(
            status, reason, f"{without_credentials(str(response.request.url))} answered {status} {reason}."
        ) from None
    detail = problem.detail or problem.title
    if response.status_code == 401:
        detail = _locked(response, detail)
    raise ServiceError(response.status_code, problem.title, detail, problem.errors)


def _locked(response: httpx.Response, detail: str) -> str:
    """Return why a service did not let the client in, and the cure; `detail`: what it says itself."""
    url = without_credentials(str(response.request.url.copy_with(raw_path=b"/")).rstrip("/"))
    if detail.startswith("The token "):  # it was revoked, or has expired
        return f"{url}: {detail}"
    if "authorization" in response.request.headers:
        return f"{url} refuses this token: it is not the service's. Put the service's token into LUTHIER_TOKEN."
    return f"{url} asks for a token, and none was sent. Put the service's token into LUTHIER_TOKEN."


def _not_finite(value: Any, path: str = "") -> list[Fault]:
    """Return the numbers of a body that are infinite or none at all."""
    if isinstance(value, float) and not math.isfinite(value):
        return [Fault(path=path, message="must be a finite number")]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [fault for key, item in items for fault in _not_finite(item, f"{path}.{key}" if path else str(key))]
