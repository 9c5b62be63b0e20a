"""Routes that change the fleet (/v1/workers/{name}): the end of a worker's quarantine."""

from typing import Annotated

from fastapi import APIRouter, Path

from luthier.service.api import operations
from luthier.service.api.context import ServiceDep
from luthier.service.errors import Conflict, Invalid, NotFound, responses
from luthier.service.lifecycle import quarantine
from luthier.service.schemas import WorkerView
from luthier.studies.wire import WORKER_NAME

router = APIRouter(prefix="/v1/workers", tags=["operations"], responses=responses(NotFound))
WorkerName = Annotated[str, Path(pattern=WORKER_NAME)]


@router.post("/{name}/release", responses=responses(Conflict, Invalid))
def release(name: WorkerName, service: ServiceDep) -> WorkerView:
    """End a worker's quarantine now, and forget what it failed at; 409 where it is in none."""
    with service.core.database.transaction() as session:
        quarantine.release(session, name)
        session.flush()
        view = operations.worker_view(service, session, name)
    service.notifier.notify()
    return view
