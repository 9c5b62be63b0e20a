"""The check of query parameters: a route of /v1 refuses those that it does not declare, as specs refuse unknown keys.

`create_app` adds it to the routes of REST. It goes by what a route itself declares, so that there is no second list.
"""

from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from luthier.service.api.request_project import Project
from luthier.service.errors import Invalid
from luthier.service.schemas import Fault

MOST_FAULTS = 5  # that are told
CHARACTERS = 100  # of a name that is told


async def check_query(request: Request) -> None:
    """Refuse a request with a query parameter that its route does not declare. Raises Invalid."""
    _check(request)


async def check_query_in_project(request: Request, project: Project = None) -> None:
    """Do the same for a route that takes `?project=`, too, and declare that one. Raises Invalid."""
    _check(request, "project")


def _check(request: Request, *shared: str) -> None:
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute) or not route.path.startswith("/v1/"):
        return
    known = (*declared(route), *shared)
    unknown = [name for name in dict.fromkeys(request.query_params.keys()) if name not in known]
    if unknown:
        faults = [Fault(path=name[:CHARACTERS], message=_fault(name, known)) for name in unknown[:MOST_FAULTS]]
        raise Invalid("; ".join(map(str, faults)), faults)


def declared(route: APIRoute) -> tuple[str, ...]:
    """Return the names of the query parameters that a route, or what it depends on, declares."""
    return tuple(dict.fromkeys(_names(route.dependant)))


def _names(dependant: Dependant) -> list[str]:
    inner = [name for dependency in dependant.dependencies for name in _names(dependency)]
    return [*(field.alias for field in dependant.query_params), *inner]


def _fault(name: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(name[:CHARACTERS], known, 1)
    if near:
        return f"unknown query parameter; did you mean {near[0]}?"
    told = f"there are {', '.join(known)}" if known else "there are none here"
    return f"unknown query parameter; {told}"
