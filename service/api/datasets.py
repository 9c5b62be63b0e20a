"""Routes of uploaded data sets (/v1/datasets): upload, list, show, preview, delete."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from luthier.service.api import multipart, paging
from luthier.service.api.context import Service, ServiceDep
from luthier.service.dispatch import dataset_previews, uploads
from luthier.service.dispatch.uploads import Upload
from luthier.service.errors import (
    Conflict,
    DiskIsFull,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
    Unsupported,
    responses,
)
from luthier.service.lifecycle import datasets
from luthier.service.lifecycle.creation_limits import CreationLimits
from luthier.service.lifecycle.datasets import Users
from luthier.service.schemas import DatasetFile, DatasetView, Fault, Page, PreviewView
from luthier.service.storage.damaged import instant_or_epoch
from luthier.service.storage.dataset_store import DatasetStore
from luthier.service.storage.incoming import full
from luthier.service.storage.service_tables import DatasetRow
from luthier.studies.disk import is_full
from luthier.studies.unpacked_folder import DataArchiveError, DataTooLarge
from luthier.studies.uploads import PREFIX

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
MOST_USERS = 100  # names in an answer
FORM_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            multipart.FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": multipart.accepted()},
                        "name": {"type": "string", "description": "For people; left out: the file's own."},
                    },
                }
            }
        },
    }
}


@router.post(
    "",
    status_code=201,
    openapi_extra=FORM_BODY,
    responses=responses(NotFound, TooLarge, Unsupported, Invalid, Unavailable, DiskIsFull)
    | {200: {"model": DatasetView}},
)
async def upload(request: Request, service: ServiceDep, response: Response) -> DatasetView:
    """Store a data set (201): a table, or an archive of folders and files; the same content again is the same (200)."""
    files = DatasetStore(service.core.store.root)
    limit = service.settings.dataset_max_bytes
    async with contextmanager_in_threadpool(files.upload()) as folder:
        form = await multipart.receive(request, folder, limit)
        assert form.kind is not None
        assert form.writer is not None
        try:
            listing = await run_in_threadpool(files.complete, folder, form.kind, limit)
        except DataTooLarge as error:
            raise TooLarge(str(error)) from None
        except DataArchiveError as error:
            raise Invalid(f"file: {error}", [Fault(path="file", message=str(error))]) from None
        except OSError as error:
            raise (full(folder) if is_full(error) else error) from None
        arrived = Upload(folder, form.name, form.kind, form.writer.sha256, form.size, listing)
        created, view = await run_in_threadpool(_store, service, arrived)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/datasets/{view.id}"
    return view


def _store(service: Service, arrived: Upload) -> tuple[bool, DatasetView]:
    created, row = uploads.store(service.core, arrived, CreationLimits(service.settings, service.core.database))
    with service.core.database.reading() as session:
        return created, _view(row, datasets.users(session, [row.digest])[row.digest])


@router.get("", responses=responses(Invalid))
def listing(service: ServiceDep, cursor: paging.Cursor = None, limit: paging.Limit = 50) -> Page[DatasetView]:
    """List data sets, newest first, without their files."""
    position = paging.decode(cursor)
    with service.core.database.reading() as session:
        page, next_cursor = paging.fetch(
            session, select(DatasetRow).where(DatasetRow.is_here()), DatasetRow.id, position, limit
        )
        users = datasets.users(session, [row.digest for row in page])
        items = [_view(row, users[row.digest]).model_copy(update={"files": []}) for row in page]
        return Page(items=items, next_cursor=next_cursor)


@router.get("/{id}", responses=responses(NotFound))
def get(id: str, service: ServiceDep) -> DatasetView:
    """Return a data set, its files, and who uses it."""
    with service.core.database.reading() as session:
        row = datasets.find(session, id)
        return _view(row, datasets.users(session, [row.digest])[row.digest])


@router.get("/{id}/preview", responses=responses(NotFound, Unavailable))
def preview(id: str, service: ServiceDep) -> PreviewView:
    """Return its first rows, columns with their kinds, class balance, lengths, and rows that are in two splits."""
    with service.core.database.reading() as session:
        row = datasets.find(session, id)
    return dataset_previews.preview(service.core, row.digest)


@router.delete("/{id}", status_code=204, responses=responses(NotFound, Conflict))
def delete(id: str, service: ServiceDep) -> None:
    """Delete a data set that no unfinished study and no schedule uses. Studies that have ended keep their results."""
    uploads.delete(service.core, id)


def _view(row: DatasetRow, users: Users) -> DatasetView:
    return DatasetView(
        id=row.digest,
        project=row.project,
        source=f"{PREFIX}{row.digest}",
        name=row.name,
        kind=row.kind,
        bytes=row.bytes,
        sha256=row.sha256,
        unpacked_bytes=row.unpacked_bytes,
        file_count=row.file_count,
        created_at=instant_or_epoch(row.created_at),
        files=[DatasetFile(path=str(file["path"]), bytes=int(file["bytes"])) for file in row.files],
        studies=users.studies[:MOST_USERS],
        schedules=users.schedules[:MOST_USERS],
    )
