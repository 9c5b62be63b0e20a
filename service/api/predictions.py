"""Routes of predictions (/v1/studies/{name}/predict, /predictions): a table is sent, and a worker answers its rows."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from luthier.service.api import paging
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.openapi import CSV
from luthier.service.api.stored_file import StoredFile
from luthier.service.dispatch import predictions
from luthier.service.errors import Conflict, DiskIsFull, Invalid, NotFound, TooLarge, Unavailable, responses
from luthier.service.lifecycle import study_rows
from luthier.service.schemas import Fault, Page
from luthier.service.schemas.predictions import PredictionFile, PredictionView
from luthier.service.storage import damaged
from luthier.service.storage.incoming import received
from luthier.service.storage.tables import AssignmentRow, PredictionRow
from luthier.service.times import instant
from luthier.studies.protocol import FINISHED, TrialState

router = APIRouter(prefix="/v1/studies/{name}", tags=["predictions"])
Id = Annotated[int, Path(ge=1, lt=2**63)]
Kind = Literal["csv", "tsv", "jsonl", "json", "parquet", "arrow"]
CANCELLED = "It was cancelled with the work of its study. Send the table again."  # older versions'
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "minLength": 1,
                    "description": "A table with a row at least.",
                }
            }
            for kinds in predictions.ENDINGS.values()
            for kind in kinds[:1]
        },
    }
}


@router.post(
    "/predict",
    status_code=202,
    openapi_extra=BODY,
    responses=responses(NotFound, Conflict, TooLarge, Invalid, Unavailable, DiskIsFull),
)
async def predict(
    name: str,
    service: ServiceDep,
    request: Request,
    response: Response,
    format: Annotated[Kind | None, Query(description="The table's kind; else the Content-Type says it.")] = None,
) -> PredictionView:
    """Have the winner of a study answer the rows of a table; a worker does it, and `Location` says where to look.

    While an extended study has no new winner yet, that of before answers; `trial` says which.

    The body is the table, with the columns that the study's models read. JSON is a list of objects, a row each.
    """
    ending = format or _ending(request.headers.get("content-type", ""))
    folder = await run_in_threadpool(_winner_folder, service, name)
    async with received(service.core.store, folder, request.stream()) as table:
        prediction_id = await run_in_threadpool(predictions.queue, service.core, name, table, ending)
    service.notifier.notify()
    response.headers["Location"] = f"/v1/studies/{name}/predictions/{prediction_id}"
    return await run_in_threadpool(get, name, prediction_id, service)


def _ending(content_type: str) -> str:
    """Return the ending of a table's name by the type of a body. Raises Invalid."""
    kind = content_type.partition(";")[0].strip().lower()
    found = next((ending for ending, kinds in predictions.ENDINGS.items() if kind in kinds), None)
    if found is None:
        known = ", ".join(predictions.ENDINGS)
        message = f"say of which kind the table is ({known}), as ?format=csv, or with a Content-Type such as text/csv"
        raise Invalid(f"format: {message}.", [Fault(path="format", message=message)])
    return found


def _winner_folder(service: Service, name: str) -> str:
    """Return the store's folder of a study's winner, where its tables arrive. Raises NotFound, Conflict."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        model, _ = predictions.winner_of(study)
        return service.core.store.place(study.id, model.assignment, model.name).folder


@router.get("/predictions", responses=responses(NotFound, Invalid))
def listing(
    name: str, service: ServiceDep, cursor: paging.Cursor = None, limit: paging.Limit = 50
) -> Page[PredictionView]:
    """List a study's predictions, newest first."""
    position = paging.decode(cursor)
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        rows, next_cursor = paging.fetch(session, predictions.of_study(study.id), AssignmentRow.id, position, limit)
        of_rows = select(PredictionRow).where(PredictionRow.assignment_id.in_([row.id for row in rows]))
        found = {one.assignment_id: one for one in session.scalars(of_rows)}
        return Page(items=[_view(name, row, found[row.id]) for row in rows], next_cursor=next_cursor)


@router.get("/predictions/{prediction_id}", responses=responses(NotFound, Invalid))
def get(name: str, prediction_id: Id, service: ServiceDep) -> PredictionView:
    """Return a prediction; once it is complete, `file` says where its answers are."""
    with service.core.database.reading() as session:
        row = predictions.find(session, name, prediction_id)
        return _view(name, row, session.get_one(PredictionRow, row.id))


@router.get(
    "/predictions/{prediction_id}/file",
    response_class=FileResponse,
    responses=responses(NotFound, Conflict, Invalid) | CSV,
)
def file(name: str, prediction_id: Id, service: ServiceDep) -> StoredFile:
    """Download the answers: a csv with the table's columns, in its order, and the answers beside them."""
    with service.core.database.reading() as session:
        row = predictions.find(session, name, prediction_id)
        result = session.get_one(PredictionRow, row.id).result
    if result is None:
        ended = "it has no file" if row.state in FINISHED else "its file comes when it is complete"
        raise Conflict(f"The prediction {prediction_id} of {name} is {row.state}; {ended}.")
    opened = service.core.store.open(service.core.store.place(row.study_id, row.id, result.file.name))
    return StoredFile(opened, "text/csv", result.file.sha256, f"{name}-predictions-{prediction_id}.csv")


@router.delete("/predictions/{prediction_id}", status_code=204, responses=responses(NotFound, Invalid))
def delete(name: str, prediction_id: Id, service: ServiceDep) -> None:
    """Delete a prediction with its files; one that runs is ended."""
    predictions.delete(service.core, name, prediction_id)


def _view(name: str, row: AssignmentRow, found: PredictionRow) -> PredictionView:
    result = found.result if row.state == TrialState.COMPLETE else None
    return PredictionView(
        id=row.id,
        study=name,
        trial=found.trial,
        state=TrialState(row.state).value,
        rows=None if result is None else result.rows,
        unreadable=None if result is None else result.unreadable,
        error=_error(row, found.source.name),
        attempt=row.attempt,
        worker=row.worker,
        created_at=damaged.instant_or_epoch(row.created_at),
        started_at=instant(row.started_at),
        finished_at=instant(row.finished_at),
        seconds=round(row.seconds_before + row.seconds, 3),
        file=None
        if result is None
        else PredictionFile(
            url=f"/v1/studies/{name}/predictions/{row.id}/file", sha256=result.file.sha256, bytes=result.file.bytes
        ),
    )


def _error(row: AssignmentRow, table: str) -> str | None:
    """Return why a prediction has no answers; its user's table is not called by its name in the store."""
    if row.error is None:
        return CANCELLED if row.state == TrialState.CANCELLED else None
    return row.error if not row.error.startswith(table) else f"The table{row.error[len(table) :]}"
