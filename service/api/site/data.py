"""The pages of uploaded data: the list of all with a form to upload, and one for each with its preview.

What is uploaded goes to the disk as it arrives, by the same code as REST's; a preview is a part that is asked for by
itself, since the first one of a data set takes a while.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from luthier.service.api import datasets, multipart
from luthier.service.api.context import ServiceDep
from luthier.service.api.site import buttons
from luthier.service.api.site.page import PageRoute, is_part, require_write, show

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/data")
ROWS = 50  # data sets of a page
DELETE = buttons.Button(
    "delete",
    "Delete",
    frozenset(),
    "Its files are removed; studies that have ended keep their results. There is no way back.",
)


@router.get("")
def all_data(
    request: Request, service: ServiceDep, cursor: Annotated[str | None, Query(max_length=1000)] = None
) -> HTMLResponse:
    """Show the data sets, newest first, and a form to upload one. Raises Invalid."""
    page = datasets.listing(service, cursor, ROWS)
    most = service.settings.dataset_max_bytes
    values: dict[str, Any] = {"datasets": page.items, "following": page.next_cursor, "most": most}
    return show(request, "data.html", accepted=multipart.accepted(), cursor=cursor, **values)


@router.post("")
async def upload(request: Request, service: ServiceDep) -> Response:
    """Store an upload and lead to its page. Raises Forbidden, Invalid, TooLarge, Unsupported, DiskIsFull."""
    require_write(request)
    view = await datasets.upload(request, service, Response())
    return RedirectResponse(f"/data/{view.id}", 303)


@router.get("/{id}")
def one_data_set(id: str, request: Request, service: ServiceDep) -> HTMLResponse:
    """Show a data set: what it is, who uses it, its files. Raises NotFound."""
    view = datasets.get(id, service)
    return show(request, "data_set.html", dataset=view, shown_buttons=[DELETE])


@router.get("/{id}/preview")
def preview(id: str, request: Request, service: ServiceDep) -> HTMLResponse:
    """Show the preview of a data set, as a page or as a part of one. Raises NotFound, Unavailable."""
    values: dict[str, Any] = {"dataset": datasets.get(id, service), "preview": datasets.preview(id, service)}
    return show(request, "data_preview_part.html" if is_part(request) else "data_preview.html", **values)


@router.post("/{id}/delete")
def delete(id: str, request: Request, service: ServiceDep) -> Response:
    """Delete a data set and lead to the list. Raises NotFound, Conflict, Forbidden."""
    require_write(request)
    datasets.delete(id, service)
    return RedirectResponse("/data", 303)
