"""The form of a study's tags, notes and parallel trials: changed under the ETag that was shown with them.

Where somebody else has changed them meanwhile, nothing is lost: the form comes again with what was typed, beside what
stands there now.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from luthier.service.api import study_changes, views
from luthier.service.api.context import ServiceDep
from luthier.service.api.site.page import PageRoute, require_write, show
from luthier.service.api.study_changes import StudyChanges
from luthier.service.errors import Invalid, NotFound, Problem, invalid
from luthier.service.lifecycle import study_rows
from luthier.service.schemas import StudyView

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/studies/{name}/change")
Text = Annotated[str, Form()]


@router.get("")
def form(name: str, request: Request, service: ServiceDep) -> HTMLResponse:
    """Show the form on a page of its own. Raises NotFound, Forbidden."""
    require_write(request)
    view = _view(service, name)
    return show(request, "study_change.html", view=view, typed=_typed(view), problem=None)


@router.post("")
def change(
    name: str, request: Request, service: ServiceDep, etag: Text, tags: Text = "", notes: Text = "", parallel: Text = ""
) -> Response:
    """Change what the form says and lead back to the study; show the form again where it cannot be changed."""
    require_write(request)
    typed = {"tags": tags, "notes": notes, "parallel": parallel}
    try:
        study_changes.change(name, _changes(tags, notes, parallel), service, Response(), etag)
    except NotFound:
        raise
    except Problem as problem:
        values = {"view": _view(service, name), "typed": typed, "problem": problem}
        return show(request, "study_change.html", problem.status, **values)
    return RedirectResponse(f"/studies/{name}", 303)


def _changes(tags: str, notes: str, parallel: str) -> StudyChanges:
    """Return what a form asks for. Raises Invalid."""
    if parallel.strip() and not parallel.strip().isdecimal():
        raise Invalid(f"parallel: must be a whole number from 1 to 1024, and not {parallel[:20]!r}.")
    given = [tag for tag in tags.splitlines() if tag.strip()]
    number = int(parallel.strip()[:6]) if parallel.strip() else None
    try:
        return StudyChanges.model_validate({"tags": given, "notes": notes, "parallel": number})
    except ValidationError as error:
        raise invalid(error) from None


def _view(service: ServiceDep, name: str) -> StudyView:
    with service.core.database.reading() as session:
        return views.study_views(session, [study_rows.find(session, name)])[0]


def _typed(view: StudyView) -> dict[str, str]:
    return {"tags": "\n".join(view.tags), "notes": view.notes, "parallel": str(view.parallel or "")}
