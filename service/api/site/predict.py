"""The page where a study's winner answers a table: an upload, the predictions so far, their files.

A table goes to the disk as it arrives, and is queued as REST queues one. The list asks for itself again while a
prediction waits or runs.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from luthier.service.api import multipart, predictions
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.site import buttons
from luthier.service.api.site.page import PageRoute, is_part, require_write, show
from luthier.service.dispatch import predictions as queue
from luthier.service.errors import Conflict, NotFound, Problem
from luthier.service.lifecycle import study_rows
from luthier.service.storage.dataset_store import DatasetStore
from luthier.service.storage.file_store import Place
from luthier.service.storage.incoming import Incoming
from luthier.service.storage.tables import StudyRow
from luthier.studies.files import sync_file
from luthier.studies.protocol import FINISHED
from luthier.studies.uploads import ALIASES, stored_name

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/studies/{name}/predict")
ROWS = 30  # predictions of a page
INPUTS = ("text", "words", "image", "audio")  # how columns are read that a model answers from
DELETE = buttons.Button(
    "delete", "Delete", frozenset(), "Its answers are removed; one that runs is ended. There is no way back."
)


def _ending(file: str) -> str | None:
    """Return the kind of a table by its file's name; None for one that is not read."""
    ending = file.lower().rpartition(".")[2]
    ending = ALIASES.get(ending, ending)
    return ending if ending in queue.ENDINGS else None


TABLES = multipart.Wanted("tables", _ending, f"Tables: {', '.join(queue.ENDINGS)}.", "LUTHIER_PREDICT_BYTES")


@router.get("")
def page(
    name: str, request: Request, service: ServiceDep, cursor: Annotated[str | None, Query(max_length=1000)] = None
) -> HTMLResponse:
    """Show the form and the predictions of a study, or, to htmx, the part that lives. Raises NotFound, Invalid."""
    return _page(name, request, service, cursor)


@router.post("")
async def predict(name: str, request: Request, service: ServiceDep) -> Response:
    """Queue the prediction of an uploaded table; show the page again where it cannot be."""
    require_write(request)
    try:
        await _queue(name, request, service)
    except NotFound:
        raise
    except Problem as problem:
        return await run_in_threadpool(_page, name, request, service, None, problem)
    service.notifier.notify()
    return RedirectResponse(f"/studies/{name}/predict", 303)


@router.post("/{prediction_id}/delete")
def delete(name: str, prediction_id: predictions.Id, request: Request, service: ServiceDep) -> Response:
    """Delete a prediction and lead back to the list. Raises NotFound, Forbidden."""
    require_write(request)
    predictions.delete(name, prediction_id, service)
    return RedirectResponse(f"/studies/{name}/predict", 303)


async def _queue(name: str, request: Request, service: Service) -> None:
    """Receive the table of a form and queue it. Raises Problem."""
    store = service.core.store
    await run_in_threadpool(_require_winner, name, service)  # before the table travels
    async with contextmanager_in_threadpool(DatasetStore(store.root).upload()) as folder:
        form = await multipart.receive(request, folder, service.settings.predict_bytes, TABLES)
        assert form.kind is not None
        assert form.writer is not None
        file = stored_name(form.kind)
        await run_in_threadpool(sync_file, folder / file)
        table = Incoming(Place(folder.name, file), form.writer.sha256, form.size)
        await run_in_threadpool(queue.queue, service.core, name, table, form.kind)


def _require_winner(name: str, service: Service) -> None:
    with service.core.database.reading() as session:
        queue.winner_of(study_rows.find(session, name))


def _page(
    name: str, request: Request, service: Service, cursor: str | None, problem: Problem | None = None
) -> HTMLResponse:
    items = predictions.listing(name, service, cursor, ROWS)
    values: dict[str, Any] = {
        "name": name,
        "predictions": items.items,
        "following": items.next_cursor,
        "cursor": cursor,
        "lives": any(item.state not in FINISHED for item in items.items),
        "delete": DELETE,
    }
    if is_part(request):
        return show(request, "predictions.html", **values)
    values |= {"accepted": TABLES.accepted, "most": service.settings.predict_bytes, "problem": problem, "why": None}
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        values["columns"] = _inputs(study)
        try:
            queue.winner_of(study)
        except Conflict as reason:
            values["why"] = reason.detail
    return show(request, "predict.html", problem.status if problem else 200, **values)


def _inputs(study: StudyRow) -> list[str]:
    """Return the columns that the models of a study read, as far as its spec says."""
    if not study.is_readable or study.external:
        return []
    task, named = study.spec.task_info, study.spec.dataset.columns
    choices = task.choices(named)
    if len(choices) != 1:
        return []
    return [named.get(role, column) for role, column in choices[0].items() if task.columns[role].reads in INPUTS]
