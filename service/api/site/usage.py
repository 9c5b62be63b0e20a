"""The page of the disk: what it is used for, by study, data set and schedule."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from luthier.service.api import usage
from luthier.service.api.context import ServiceDep
from luthier.service.api.site.page import PageRoute, show

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/usage")
def disk(request: Request, service: ServiceDep) -> HTMLResponse:
    """Show what the disk is used for, the largest first."""
    return show(request, "usage.html", usage=usage.get(service))
