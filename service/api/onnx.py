"""Routes of ONNX files (/v1/studies/{name}/onnx): a worker makes the winner's, and tries it beside torch."""

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from luthier.service.api.context import ServiceDep
from luthier.service.api.openapi import GZIP
from luthier.service.api.stored_file import StoredFile
from luthier.service.dispatch import onnx_files
from luthier.service.errors import Conflict, Invalid, NotFound, responses
from luthier.service.schemas.onnx import OnnxFile, OnnxView
from luthier.service.storage import damaged
from luthier.service.storage.tables import AssignmentRow
from luthier.service.times import instant
from luthier.studies.protocol import FINISHED, TrialState

router = APIRouter(prefix="/v1/studies/{name}/onnx", tags=["onnx"])


@router.post("", status_code=202, responses=responses(NotFound, Conflict, Invalid) | {200: {"model": OnnxView}})
def ask(name: str, service: ServiceDep, response: Response) -> OnnxView:
    """Have the winner of a study made an ONNX file, by a worker, which compares it with torch on rows of the data.

    It is made once for a winner: 200 where it is there, or in the making. One that has failed is tried again.
    """
    if onnx_files.ask(service.core, name):
        service.notifier.notify()
    else:
        response.status_code = 200
    response.headers["Location"] = f"/v1/studies/{name}/onnx"
    return get(name, service)


@router.get("", responses=responses(NotFound, Conflict, Invalid))
def get(name: str, service: ServiceDep) -> OnnxView:
    """Return the ONNX file of a study's present winner; once it is complete, `file` says where it is."""
    with service.core.database.reading() as session:
        return view(name, onnx_files.find(session, name))


@router.get("/file", response_class=FileResponse, responses=responses(NotFound, Conflict, Invalid) | GZIP)
def file(name: str, service: ServiceDep) -> StoredFile:
    """Download it: a .tar.gz of `onnx/model.onnx` beside the winner's configuration and processor."""
    with service.core.database.reading() as session:
        row = onnx_files.find(session, name)
    if row.state != TrialState.COMPLETE or row.onnx is None:
        ended = "there is no file" if row.state in FINISHED else "its file comes when it is complete"
        raise Conflict(f"The ONNX file of {name} is {row.state}; {ended}.")
    opened = service.core.store.open(service.core.store.place(row.study_id, row.id, row.onnx.name))
    return StoredFile(opened, "application/gzip", row.onnx.sha256, f"{name}-onnx.tar.gz")


@router.delete("", status_code=204, responses=responses(NotFound, Invalid))
def delete(name: str, service: ServiceDep) -> None:
    """Delete the ONNX file of a study's winner; one in the making is ended."""
    onnx_files.delete(service.core, name)


def view(name: str, row: AssignmentRow) -> OnnxView:
    """Return the ONNX file of a study as REST answers it."""
    made = row.onnx if row.state == TrialState.COMPLETE else None
    url = f"/v1/studies/{name}/onnx/file"
    return OnnxView(
        study=name,
        trial=row.number,
        state=TrialState(row.state).value,
        rows=None if made is None else row.onnx_rows,
        difference=None if made is None else row.onnx_difference,
        error=row.error,
        attempt=row.attempt,
        worker=row.worker,
        created_at=damaged.instant_or_epoch(row.created_at),
        started_at=instant(row.started_at),
        finished_at=instant(row.finished_at),
        seconds=round(row.seconds_before + row.seconds, 3),
        file=None if made is None else OnnxFile(url=url, sha256=made.sha256, bytes=made.bytes),
    )
