"""The page of projects, for admins, and the switch between them, which is a cookie of the browser's.

The access control reads that cookie; it passes over one that fits no more.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from luthier.service.access import projects
from luthier.service.api import projects as routes
from luthier.service.api.auth import local_path
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.credentials import PROJECT_COOKIE
from luthier.service.api.request_project import RULE, may_enter
from luthier.service.api.site.forms import fault_of, field_values, number_or_text
from luthier.service.api.site.page import PageRoute, require_write, show
from luthier.service.caller import PROJECT_NAME, current
from luthier.service.errors import Forbidden, Invalid, Problem, invalid
from luthier.service.schemas import Fault, ProjectLimits

router = APIRouter(include_in_schema=False, route_class=PageRoute)
COOKIE_SECONDS = 30 * 86_400
FIELDS = ("name", *ProjectLimits.model_fields)


@router.post("/project")
def switch(
    request: Request, project: Annotated[str, Form(max_length=64)], next: Annotated[str, Form(max_length=500)] = "/"
) -> RedirectResponse:
    """Look at another project from now on, and lead back. Raises Forbidden for one that is not the caller's."""
    if not PROJECT_NAME.fullmatch(project) or not may_enter(current(), project):
        raise Forbidden("This token may not use that project.")
    response = RedirectResponse(local_path(next), 303)
    secure = request.url.scheme == "https"
    response.set_cookie(PROJECT_COOKIE, project, COOKIE_SECONDS, httponly=True, samesite="strict", secure=secure)
    return response


@router.get("/projects")
def all_projects(request: Request, service: ServiceDep) -> HTMLResponse:
    """Show the projects, and the form that makes or changes one."""
    return _page(request, service, dict.fromkeys(FIELDS, ""), None)


@router.post("/projects")
async def put(request: Request, service: ServiceDep) -> Response:
    """Make or change the project that the form names; show the form again where it is wrong. Raises Forbidden."""
    require_write(request)
    typed = await field_values(request, FIELDS)
    given = {name: number_or_text(typed[name]) for name in ProjectLimits.model_fields}
    try:
        if not PROJECT_NAME.fullmatch(typed["name"]):
            raise Invalid(f"name: {RULE}", [Fault(path="name", message=RULE)])
        limits = ProjectLimits.model_validate({name: value for name, value in given.items() if value is not None})
        await run_in_threadpool(routes.put, typed["name"], limits, service, Response())
    except ValidationError as error:
        return _page(request, service, typed, invalid(error))
    except Invalid as problem:
        return _page(request, service, typed, problem)
    return RedirectResponse("/projects", 303)


@router.post("/projects/{name}/delete")
def delete(name: str, request: Request, service: ServiceDep) -> RedirectResponse:
    """Delete an empty project. Raises NotFound, Conflict, Forbidden."""
    require_write(request)
    routes.delete(name, service)
    return RedirectResponse("/projects", 303)


def _page(request: Request, service: Service, typed: dict[str, str], problem: Problem | None) -> HTMLResponse:
    with service.core.database.reading() as session:
        views = projects.seen(session)
    values: dict[str, Any] = {"views": views, "typed": typed, "problem": problem, "faults": fault_of(problem, "")}
    return show(request, "projects.html", 200 if problem is None else problem.status, **values)
