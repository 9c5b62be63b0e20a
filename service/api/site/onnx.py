"""The part of a study's page that has its ONNX file: made at a push, followed while a worker makes it, downloaded.

It stands in the menu of downloads, and asks for itself again while the file waits or is made. `study.py` shows it with
the page.
"""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from luthier.service.api import onnx
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.site import buttons
from luthier.service.api.site.page import PageRoute, is_part, require_write, show
from luthier.service.dispatch import onnx_files
from luthier.service.errors import Conflict, NotFound
from luthier.service.lifecycle import study_rows
from luthier.service.schemas.onnx import OnnxView
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import FINISHED

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/studies/{name}/onnx")
DELETE = buttons.Button(
    "delete", "Delete", frozenset(), "The file is removed; one in the making is ended. It can be made again."
)


@router.get("")
def part(name: str, request: Request, service: ServiceDep) -> Response:
    """Show the part to htmx, and lead everybody else to the study's page. Raises NotFound."""
    return _answer(name, request, service)


@router.post("")
def make(name: str, request: Request, service: ServiceDep) -> Response:
    """Have a worker make the file, and show the part. Raises NotFound, Conflict, Forbidden."""
    require_write(request)
    onnx.ask(name, service, Response())
    return _answer(name, request, service)


@router.post("/delete")
def delete(name: str, request: Request, service: ServiceDep) -> Response:
    """Delete the file, and lead back to the study's page. Raises NotFound, Forbidden."""
    require_write(request)
    onnx.delete(name, service)
    return RedirectResponse(f"/studies/{name}", 303)


def values(session: Session, study: StudyRow) -> dict[str, Any]:
    """Return what the part shows of a study; nothing where its winner has no ONNX file, and gets none."""
    made: OnnxView | None = None
    has_onnx = study.is_readable
    if has_onnx:
        try:
            made = onnx.view(study.name, onnx_files.of_winner(session, study))
        except NotFound:
            pass  # nobody has asked for it
        except Conflict:
            has_onnx = False
    lives = made is not None and made.state not in FINISHED
    return {"onnx": made, "has_onnx": has_onnx, "onnx_lives": lives, "delete_onnx": DELETE}


def _answer(name: str, request: Request, service: Service) -> Response:
    if not is_part(request):
        return RedirectResponse(f"/studies/{name}", 303)
    with service.core.database.reading() as session:
        shown = values(session, study_rows.find(session, name))
    return show(request, "onnx.html", name=name, **shown)
