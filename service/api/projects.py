"""Routes of projects (/v1/projects): create and change, list, show, delete."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from luthier.service.access import projects
from luthier.service.api import paging
from luthier.service.api.context import ServiceDep
from luthier.service.api.json_body import JsonRoute
from luthier.service.caller import PROJECT_NAME
from luthier.service.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge, responses
from luthier.service.schemas import Page, ProjectLimits, ProjectView

router = APIRouter(prefix="/v1/projects", tags=["projects"], route_class=JsonRoute)
Name = Annotated[
    str, Path(pattern=f"^{PROJECT_NAME.pattern}$", description="Small letters, digits and hyphens, at most 63.")
]


@router.put(
    "/{name}", responses=responses(Forbidden, TooLarge, Invalid) | {201: {"model": ProjectView, "description": "New"}}
)
def put(name: Name, limits: ProjectLimits, service: ServiceDep, response: Response) -> ProjectView:
    """Create a project (201), or replace its share and limits (200); what is left out gets its default. Admins may."""
    projects.check_admin()
    database = service.core.database
    with database.transaction() as session:
        created = projects.put(database, session, name, limits)
        view = projects.find(session, name)
    response.status_code = 201 if created else 200
    service.notifier.notify()  # work that waited may have its turn now
    return view


@router.get("", responses=responses(Invalid))
def listing(service: ServiceDep, cursor: paging.Cursor = None, limit: paging.AnyLimit = None) -> Page[ProjectView]:
    """List the projects that the caller may see, by name: an admin all of them, others the one that they work in."""
    position = paging.decode(cursor)
    with service.core.database.reading() as session:
        return paging.part(projects.seen(session), position, limit)


@router.get("/{name}", responses=responses(NotFound))
def get(name: str, service: ServiceDep) -> ProjectView:
    """Return a project: its share and limits, what it holds, and what it has used."""
    with service.core.database.reading() as session:
        return projects.find(session, name)


@router.delete("/{name}", status_code=204, responses=responses(Forbidden, NotFound, Conflict))
def delete(name: str, service: ServiceDep) -> None:
    """Delete a project that has no studies, schedules, data sets and valid tokens. Admins may."""
    projects.check_admin()
    with service.core.database.transaction() as session:
        projects.delete(service.core.database, session, name)
