"""What all pages share: who looks, where they are, whether they may push buttons, and how a problem is shown.

Routes of pages use `PageRoute`, so that an error is a page too, and `show`, which knows what the frame needs.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError

from luthier.service.access import projects
from luthier.service.api.context import Service
from luthier.service.api.credentials import COOKIE
from luthier.service.api.pages import render
from luthier.service.caller import Scope, current
from luthier.service.errors import Forbidden, Problem, invalid

LIVE_SECONDS = 30  # between two looks of a part that lives, where no event comes
POLL_SECONDS = 4  # of one that no event is told of


def may_write(request: Request) -> bool:
    """Return whether whoever asks may change something; access control says so in the request's state."""
    return bool(getattr(request.state, "may_write", True))


def require_write(request: Request) -> None:
    """Refuse a reader's push of a button. Raises Forbidden."""
    if not may_write(request):
        raise Forbidden("This token may read, and change nothing: log in with one that may write.")


def is_part(request: Request) -> bool:
    """Return whether htmx asks for a part of a page."""
    return "hx-request" in request.headers


def events_of(study: str | None = None, trial: int | None = None) -> str:
    """Return the address of the events that a page lives on: of all studies, of one, or of one trial with its log."""
    if study is None:
        return "/v1/events?kind=study"
    if trial is None:
        return f"/v1/studies/{study}/events?kind=study&kind=trial&kind=report"
    return f"/v1/studies/{study}/events?trial={trial}"


def show(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Answer with a page or a part of one, with what its frame needs.

    Args:
        request: who looks, and at what.
        template: a file name in `templates/`.
        status: the HTTP status.
        values: the names that the template uses.
    """
    frame = {
        "here": request.url.path,
        "logged_in": COOKIE in request.cookies,
        "may_write": may_write(request),
        "project": current().project,
        "projects": [] if is_part(request) else _projects(request),
        "may_admin": Scope.ADMIN in current().scopes,
        "live_seconds": LIVE_SECONDS,
        "poll_seconds": POLL_SECONDS,
        "events": None,
    }
    return render(template, status, **(frame | values))


def _projects(request: Request) -> list[str]:
    """Return the names of the projects that whoever looks may switch to; none while the database is away."""
    service: Service = request.app.state.service
    try:
        with service.core.database.reading() as session:
            return projects.names(session)
    except SQLAlchemyError:
        return []


class PageRoute(APIRoute):
    """A route whose problems are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with a page for each problem."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                return problem_page(request, invalid(error, skip=1))
            except Problem as problem:
                return problem_page(request, problem)

        return answer


def problem_page(request: Request, problem: Problem) -> HTMLResponse:
    """Answer with a page that shows a problem."""
    page = show(request, "problem.html", problem.status, problem=problem)
    if problem.retry_after:
        page.headers["Retry-After"] = str(problem.retry_after)
    return page
