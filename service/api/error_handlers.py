"""Handlers that answer every error as problem+json; `create_app` installs them.

No handler shows a traceback or the input: those are for the service's log.
"""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from luthier.service.errors import Invalid, Problem, Unavailable, invalid
from luthier.service.storage.database import is_passing
from luthier.studies.search.storage import STORAGE_ERRORS

log = logging.getLogger("luthier")


def install(app: FastAPI) -> None:
    """Add the handlers to `app`."""
    app.exception_handler(Problem)(_problem)
    app.exception_handler(RequestValidationError)(_request)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(SQLAlchemyError)(_database)
    for error in STORAGE_ERRORS:
        app.exception_handler(error)(_storage)
    app.exception_handler(OSError)(_system)
    app.exception_handler(ClientDisconnect)(_gone)
    app.exception_handler(Exception)(_unknown)


def _problem(_: Request, error: Problem) -> JSONResponse:
    return error.response()


def _request(_: Request, error: RequestValidationError) -> JSONResponse:
    return invalid(error, skip=1).response()


def _http(request: Request, error: HTTPException) -> JSONResponse:
    if isinstance(error.__cause__, Problem):  # of a body that `json_body.py` has read
        return error.__cause__.response()
    if error.status_code == 400:  # FastAPI's own, for a body that it cannot read
        return Invalid("The body cannot be read as JSON.").response()
    path, headers, text = request.url.path[:200], dict(error.headers or {}), str(error.detail)
    if error.status_code == 404 and text == "Not Found":
        text = f"There is nothing at {path}; /docs lists what there is."
    elif error.status_code == 405 and (methods := _methods(request)):
        headers["Allow"] = ", ".join(methods)
        text = f"{request.method} cannot be used at {path}; it takes {' or '.join(methods)}."
    problem = Problem(text)
    problem.status = error.status_code
    problem.title = str(error.detail)
    response = problem.response()
    response.headers.update(headers)
    return response


def _methods(request: Request) -> list[str]:
    """Return the methods that a request's path takes, of all its routes; Starlette's Allow has the first's."""
    found = set()
    for method in ("DELETE", "GET", "PATCH", "POST", "PUT"):
        scope = dict(request.scope) | {"method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            found.add(method)
    return sorted(found)


def _database(request: Request, error: SQLAlchemyError) -> JSONResponse:
    full = _full_disk(request, error)
    if full is not None:
        return full
    if is_passing(error):
        log.warning("the database did not answer: %s", type(error).__name__)
        return Unavailable("The database does not answer; try again shortly.", retry_after=2).response()
    if isinstance(error, DataError):
        return Invalid("A value does not fit the database: a NUL character, or a number too large.").response()
    log.error("database error", exc_info=error)
    return Problem("A database error; the service's log has it.").response()


def _storage(request: Request, error: Exception) -> JSONResponse:
    full = _full_disk(request, error)
    if full is not None:
        return full
    log.warning("Optuna's storage did not answer: %s", type(error.__cause__ or error).__name__)
    return Unavailable("The database does not answer; try again shortly.", retry_after=2).response()


def _system(request: Request, error: OSError) -> JSONResponse:
    full = _full_disk(request, error)
    if full is not None:
        return full
    log.error("system error", exc_info=error)
    return Problem("An error of the service's system; its log has it.").response()


def _full_disk(request: Request, error: BaseException) -> JSONResponse | None:
    """Return an answer that names the full disk, for workers to repeat their message; None for any other error.

    They repeat it soon: a lease that could not be renewed has one more lease once there is room. The service's log has
    one line an outage, by `DiskRoom`.
    """
    sentence = request.app.state.service.core.room.note(error)
    return None if sentence is None else Unavailable(sentence, retry_after=1).response()


def _gone(_: Request, error: ClientDisconnect) -> JSONResponse:
    return Problem("The client hung up before its request was complete.").response()  # nobody reads it


def _unknown(_: Request, error: Exception) -> JSONResponse:
    return Problem("An error of the service itself; its log has it.").response()
