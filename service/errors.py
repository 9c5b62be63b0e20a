"""Errors that a route can answer, as `application/problem+json` (RFC 9457).

Routes and what they call raise them; `api/error_handlers.py` renders them.

Problem
├── Unauthorized  401  no token, or a wrong one
├── Forbidden     403  not from this host or origin
├── NotFound      404
├── ReadOnly      405  the dashboard changes nothing
├── Conflict      409  makes no sense in this state
│   ├── Stale     409  the lease went to somebody else: drop the work
│   └── OtherVersion  409  the worker speaks another version of the protocol
├── PreconditionFailed  412  changed since the ETag that the request names
├── Gone          410  the study has ended: there is nothing to ask for any more
├── TooLarge      413
├── Unsupported   415  the login and uploads take a form only
├── Invalid       422  the request is wrong; `errors` lists path and cure
├── TooMany       429  too many requests, studies, data sets or streams of one client
├── Unavailable   503  try again after `retry_after` seconds
└── DiskIsFull    507  an upload does not fit on the disk

RefusedToStart is none of them: it ends the command that wanted to start a service.
"""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from luthier.service.schemas import Fault, ProblemView, faults_of
from luthier.studies.documents import DocumentError


class RefusedToStart(Exception):
    """The settings are unsafe, the port is taken, or the database does not answer; the message says what to do."""


class Problem(Exception):
    """An error of the service itself (500), and the base of every error that a route can answer.

    `detail` is a sentence for people. `errors` names each wrong value by its path. `retry_after` is in seconds.
    """

    status = 500
    title = "Internal error"

    def __init__(self, detail: str, errors: Sequence[Fault] = (), retry_after: int | None = None) -> None:
        """Set the parts of the answer; see the class."""
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.retry_after = retry_after

    def response(self) -> JSONResponse:
        """Return the HTTP answer: status, headers and a ProblemView as its body."""
        body = ProblemView(title=self.title, status=self.status, detail=self.detail, errors=self.errors)
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        content = body.model_dump(exclude=set() if self.errors else {"errors"})
        return JSONResponse(content, self.status, headers, "application/problem+json")


class Unauthorized(Problem):
    """The request has no token, or a wrong one."""

    status = 401
    title = "Not authenticated"


class Forbidden(Problem):
    """The request comes from a page of another site, or without a token from another machine."""

    status = 403
    title = "Forbidden"


class NotFound(Problem):
    """There is no study, trial, schedule, run or file of that name."""

    status = 404
    title = "Not found"


class ReadOnly(Problem):
    """The dashboard was asked to change something."""

    status = 405
    title = "Read only"


class Conflict(Problem):
    """The request makes no sense in the present state of its study or schedule, or the name is taken."""

    status = 409
    title = "Conflict"


class Stale(Conflict):
    """The assignment's lease has ended or belongs to another worker: the sender must drop the work."""

    title = "Stale lease"


class OtherVersion(Conflict):
    """The worker speaks a version of the worker protocol that this service does not: it must end."""

    title = "Another version"


class PreconditionFailed(Problem):
    """What the request would change was changed since the ETag that it names was read."""

    status = 412
    title = "Precondition failed"


class Gone(Problem):
    """The study has ended, and so gives out no trials any more."""

    status = 410
    title = "Ended"


class TooLarge(Problem):
    """The request's body has more bytes than its route takes."""

    status = 413
    title = "Too large"


class Unsupported(Problem):
    """The request's body is of a kind that its route does not take."""

    status = 415
    title = "Unsupported media type"


class Invalid(Problem):
    """The request is wrong; `errors` lists the path of each wrong value, and what is right."""

    status = 422
    title = "Invalid"


class TooMany(Problem):
    """The client asks too often, or has as many studies, data sets or streams as it may."""

    status = 429
    title = "Too many"


class Unavailable(Problem):
    """The database, the disk or the workers cannot serve the request now; it may be sent again."""

    status = 503
    title = "Unavailable"


class DiskIsFull(Problem):
    """The disk of the store has no room for an upload."""

    status = 507
    title = "Insufficient storage"


def invalid(error: ValidationError | RequestValidationError, skip: int = 0) -> Invalid:
    """Return an Invalid that lists what is wrong, without the input.

    Args:
        error: a validation's error.
        skip: so many leading parts of each path are dropped ("body").
    """
    faults = faults_of(error.errors(), skip)
    return Invalid("; ".join(str(fault) for fault in faults[:5]), faults)


def unreadable(error: DocumentError) -> Invalid:
    """Return an Invalid for a document or message that cannot be read, with the path of the fault."""
    return Invalid(str(error), [Fault(path=".".join(map(str, error.path)), message=error.fault)])


def responses(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return the problems that a route can answer, for its OpenAPI: status -> model and description."""
    return {p.status: {"model": ProblemView, "description": p.title} for p in problems}
