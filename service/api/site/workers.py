"""The page of workers: their device and memory, what runs on each, since when it was seen, who is in quarantine."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from luthier.service.api import fleet, operations
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.fleet import WorkerName
from luthier.service.api.site import buttons
from luthier.service.api.site.page import PageRoute, is_part, require_write, show
from luthier.service.errors import NotFound

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/workers")
ACTS: dict[str, Callable[[str, Service], Any]] = {"release": fleet.release}  # a button's action -> what it calls


@router.get("")
def workers(request: Request, service: ServiceDep) -> HTMLResponse:
    """Show the workers of the last day, or, to htmx, the part that lives."""
    template = "workers_table.html" if is_part(request) else "workers.html"
    shown = operations.workers(service).items
    pushable = {worker.name: buttons.of_state(buttons.WORKER, worker.state) for worker in shown}
    return show(request, template, workers=shown, buttons_of=pushable)


@router.post("/{name}/{action}")
def act(name: WorkerName, action: str, request: Request, service: ServiceDep) -> Response:
    """Do what a button says, and lead back to the workers. Raises NotFound, Conflict, Forbidden."""
    require_write(request)
    if action not in ACTS:
        raise NotFound(f"There is no button {action[:50]}.")
    ACTS[action](name, service)
    return RedirectResponse("/workers", 303)
