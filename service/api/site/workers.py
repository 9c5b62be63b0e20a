"""The page of workers: their device and memory, what runs on each, since when it was seen."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from luthier.service.api import operations
from luthier.service.api.context import ServiceDep
from luthier.service.api.site.page import PageRoute, is_part, show

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/workers")
def workers(request: Request, service: ServiceDep) -> HTMLResponse:
    """Show the workers of the last day, or, to htmx, the part that lives."""
    template = "workers_table.html" if is_part(request) else "workers.html"
    return show(request, template, workers=operations.workers(service).items)
