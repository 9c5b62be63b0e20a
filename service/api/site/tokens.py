"""The pages for admins: tokens, with a form that makes one and shows its secret once, and the log of who did what."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from luthier.service.api import audit, tokens
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.site import buttons
from luthier.service.api.site.forms import fault_of, field_values, number_or_text
from luthier.service.api.site.page import PageRoute, show
from luthier.service.caller import Scope, current
from luthier.service.errors import Problem, invalid
from luthier.service.schemas import NewTokenView

router = APIRouter(include_in_schema=False, route_class=PageRoute)
ROWS = 50  # tokens of a page, or entries of the log
FIELDS = ("name", "project", "days", "max_parallel", "max_gpu_seconds")
SCOPES = {
    Scope.READ: "look at everything of its project",
    Scope.WRITE: "change it, too",
    Scope.WORKER: "work for all projects, as a worker",
    Scope.ADMIN: "everything, in all projects",
}
REVOKE = buttons.Button("revoke", "Revoke", frozenset(), "It opens nothing from now on. There is no way back.")
Cursor = Annotated[str | None, Query(max_length=64)]


@router.get("/tokens")
def all_tokens(request: Request, service: ServiceDep, cursor: Cursor = None) -> HTMLResponse:
    """Show the tokens, newest first, and a form to make one. Raises Invalid."""
    return _page(request, service, cursor, {}, [Scope.WRITE])


@router.post("/tokens")
async def create(request: Request, service: ServiceDep) -> Response:
    """Make a token, and show its secret on the page that answers; what is wrong stands beside its field."""
    typed = await field_values(request, [*FIELDS, *(f"scope-{scope}" for scope in Scope)])
    return await run_in_threadpool(_create, request, service, typed)


def _create(request: Request, service: Service, typed: dict[str, str]) -> Response:
    scopes = [scope for scope in Scope if typed[f"scope-{scope}"]]
    try:
        spec = tokens.TokenSpec.model_validate(_spec(typed, scopes))
        made = tokens.create(spec, service, Response())
    except ValidationError as error:
        return _page(request, service, None, typed, scopes, problem=invalid(error))
    except Problem as problem:
        return _page(request, service, None, typed, scopes, problem=problem)
    return _page(request, service, None, {}, [Scope.WRITE], made=made)


@router.post("/tokens/{id}/revoke")
def revoke(id: tokens.Id, service: ServiceDep) -> Response:
    """Revoke a token and lead to the list. Raises NotFound."""
    tokens.revoke(id, service)
    return RedirectResponse("/tokens", 303)


@router.get("/audit")
def log(
    request: Request, service: ServiceDep, cursor: Cursor = None, caller: str | None = None, about: str | None = None
) -> HTMLResponse:
    """Show who did what, newest first; `about`: only what was about this project. Raises Invalid."""
    page = audit.listing(service, caller or None, cursor, ROWS, about or None)
    query = {"caller": caller, "about": about}
    return show(request, "audit.html", entries=page.items, following=page.next_cursor, query=query)


def _spec(typed: dict[str, str], scopes: list[Scope]) -> dict[str, Any]:
    """Return the token that a form asks for."""
    spec: dict[str, Any] = {"name": typed["name"], "scopes": [str(scope) for scope in scopes]}
    if typed["project"]:
        spec["project"] = typed["project"]
    days = number_or_text(typed["days"])
    is_time = isinstance(days, int | float) and 0 < days < 1e6
    if days is not None:
        spec["expires_at"] = datetime.now(UTC) + timedelta(days=float(days)) if is_time else days
    return spec | {key: number_or_text(typed[key]) for key in FIELDS[3:]}


def _page(
    request: Request,
    service: Service,
    cursor: str | None,
    typed: dict[str, str],
    scopes: list[Scope],
    problem: Problem | None = None,
    made: NewTokenView | None = None,
) -> HTMLResponse:
    page = tokens.listing(service, None, cursor, ROWS)
    return show(
        request,
        "tokens.html",
        200 if problem is None else problem.status,
        tokens=page.items,
        following=page.next_cursor,
        typed={name: typed.get(name, "") for name in FIELDS} | {"project": typed.get("project") or current().project},
        chosen=scopes,
        scopes=SCOPES,
        problem=problem,
        faults=fault_of(problem, ""),
        made=made,
        revoke=REVOKE,
    )
