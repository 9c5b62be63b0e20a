"""Every error a route can answer, as `application/problem+json` (RFC 9457).

Problem
├── Unauthorized  401  no token, or a wrong one
├── Forbidden     403  not from this host or origin
├── NotFound      404
├── ReadOnly      405  the dashboard changes nothing
├── Conflict      409  makes no sense in this state
│   └── Stale     409  the lease went to somebody else: drop the work
├── TooLarge      413
├── Invalid       422  the request is wrong; `errors` lists path and cure
└── Unavailable   503  try again after `retry_after` seconds
"""

import errno
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from luthier.service.schemas import Fault, ProblemView

log = logging.getLogger("luthier")
PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemView"}}}


class RefusedToStart(Exception):
    """The settings are unsafe, the port is taken, or the database does not answer; the message says what to do."""


class Problem(Exception):
    status, title = 500, "Internal error"

    def __init__(self, detail: str, errors: Sequence[Fault] = (), retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.detail, self.errors, self.retry_after = detail, list(errors), retry_after

    def response(self) -> JSONResponse:
        body = ProblemView(title=self.title, status=self.status, detail=self.detail, errors=self.errors)
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        content = body.model_dump(exclude=set() if self.errors else {"errors"})
        return JSONResponse(content, self.status, headers, "application/problem+json")


class Unauthorized(Problem):
    status, title = 401, "Not authenticated"


class Forbidden(Problem):
    status, title = 403, "Forbidden"


class NotFound(Problem):
    status, title = 404, "Not found"


class ReadOnly(Problem):
    status, title = 405, "Read only"


class Conflict(Problem):
    status, title = 409, "Conflict"


class Stale(Conflict):
    title = "Stale lease"


class TooLarge(Problem):
    status, title = 413, "Too large"


class Invalid(Problem):
    status, title = 422, "Invalid"


class Unavailable(Problem):
    status, title = 503, "Unavailable"


def field_errors(error: ValidationError | RequestValidationError, skip: int = 0) -> list[Fault]:
    """Path and message of each problem; the input is not echoed. `skip` leading path parts are dropped."""
    out = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"][skip:])
        message = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key"
        out.append(Fault(path=path, message=message))
    return out


def invalid(error: ValidationError | RequestValidationError, skip: int = 0) -> Invalid:
    errors = field_errors(error, skip)
    return Invalid("; ".join(f"{e.path}: {e.message}" if e.path else e.message for e in errors[:5]), errors)


def responses(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """For a route's OpenAPI: the problems it can answer."""
    return {p.status: {"model": ProblemView, "description": p.title} for p in problems}


def describe(app: FastAPI) -> None:
    """Have the OpenAPI document say that every error is a problem; FastAPI adds a shape of its own."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            for operation in (operation for item in document["paths"].values() for operation in item.values()):
                for status, response in operation["responses"].items():
                    if status >= "400":
                        response["content"] = PROBLEM_CONTENT
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def install(app: FastAPI) -> None:
    """One handler for each kind of error, all answering problem+json."""
    describe(app)

    @app.exception_handler(Problem)
    def _problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    def _request(_: Request, error: RequestValidationError) -> JSONResponse:
        return invalid(error, skip=1).response()

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> JSONResponse:
        problem = Problem(str(error.detail))
        problem.status, problem.title = error.status_code, str(error.detail)
        response = problem.response()
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(SQLAlchemyError)
    def _database(_: Request, error: SQLAlchemyError) -> JSONResponse:
        if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and _passing(error)):
            log.warning("the database did not answer: %s", type(error).__name__)
            return Unavailable("The database does not answer; try again shortly.", retry_after=2).response()
        if isinstance(error, DataError):
            return Invalid("A value does not fit the database: a NUL character, or a number too large.").response()
        log.error("database error", exc_info=error)
        return Problem("A database error; the service's log has it.").response()

    @app.exception_handler(OSError)
    def _system(_: Request, error: OSError) -> JSONResponse:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            log.error("the disk of the service is full")
            return Unavailable(
                "The disk of the service is full; it goes on once there is room.", retry_after=5
            ).response()
        log.error("system error", exc_info=error)
        return Problem("An error of the service's system; its log has it.").response()

    @app.exception_handler(Exception)
    def _any(_: Request, error: Exception) -> JSONResponse:
        return Problem("An error of the service itself; its log has it.").response()


def _passing(error: DBAPIError) -> bool:
    """Errors that a restart or a freed lock mends."""
    return error.connection_invalidated or isinstance(error, OperationalError)
