"""Routes of the worker protocol (/v1/worker), which ask for the worker token.

The messages are in studies/protocol.py. Every message about an assignment carries the token of its lease.
"""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from luthier import __version__
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.json_body import JsonRoute
from luthier.service.api.openapi import BYTES
from luthier.service.api.stored_file import StoredFile
from luthier.service.api.worker_files import bounded
from luthier.service.errors import (
    Invalid,
    NotFound,
    OtherVersion,
    Stale,
    TooLarge,
    Unauthorized,
    Unavailable,
    responses,
)
from luthier.service.lifecycle import datasets, winner
from luthier.service.storage.file_store import Place
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import Answer, Assignment, AssignmentKind, Claim, Outcome, Renewal, Report
from luthier.studies.uploads import store_folder, stored_name
from luthier.studies.versions import refusal
from luthier.studies.wire import FileName

router = APIRouter(prefix="/v1/worker", tags=["worker"], route_class=JsonRoute, responses=responses(Unauthorized))
Id = Annotated[int, Path(ge=1, lt=2**63)]
LeaseToken = Annotated[str, Header(alias="X-Lease-Token", max_length=64)]


@router.post(
    "/claim",
    response_model=Assignment,
    responses=responses(Invalid, Unavailable, OtherVersion) | {204: {"description": "No work within wait_seconds."}},
)
async def claim(claim: Claim, service: ServiceDep, request: Request) -> Response:
    """Hand out an assignment, or answer 204 when there is none within `wait_seconds`, or when the service stops."""
    refused = refusal(claim.protocol, claim.version, __version__)
    if refused is not None:
        raise OtherVersion(refused)
    if service.notifier.closed:
        raise Unavailable("The service stops, and hands out no work any more.", retry_after=1)
    # Many workers wait here at the same time: they must not take the threads of other requests.
    hung_up = asyncio.create_task(hang_up(request))
    try:
        assignment = await service.line.take(claim, hung_up)
        gone = hung_up.done()
    finally:
        hung_up.cancel()
    if assignment is not None and gone:
        await run_in_threadpool(service.reports.finish, given_back(assignment))
        service.notifier.notify()
    if assignment is None or gone:
        return Response(status_code=204)
    return Response(assignment.model_dump_json(), media_type="application/json")


async def hang_up(request: Request) -> None:
    """Return once the client has closed the connection; the request must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def given_back(assignment: Assignment) -> Outcome:
    """Return the outcome of an assignment whose worker hung up before it was answered."""
    return Outcome(id=assignment.id, token=assignment.token, status="released")


@router.post("/report", responses=responses(Stale, Invalid))
def report(report: Report, service: ServiceDep) -> Answer:
    """Take an evaluation; the answer says whether to train on."""
    return service.reports.report(report)


@router.post("/renew", responses=responses(Stale, Invalid))
def renew(renewal: Renewal, service: ServiceDep) -> Answer:
    """Extend the lease."""
    return service.reports.renew(renewal)


@router.post("/finish", status_code=204, responses=responses(Stale, Invalid))
def finish(outcome: Outcome, service: ServiceDep) -> None:
    """Record how the work ended. The same outcome again changes nothing."""
    service.reports.finish(outcome)
    service.notifier.notify()


def _source(service: Service, assignment_id: int, token: str) -> AssignmentRow:
    """Return the assignment whose folder a lease opens: its own, or the winner's for an evaluation. Raises Stale."""
    with service.core.database.transaction() as session:
        row = service.core.leases.lock_received(session, assignment_id, token)
        if row.kind != AssignmentKind.EVALUATE:
            return row
        return winner.winning_assignment(session, session.get_one(StudyRow, row.study_id))


@router.put(
    "/files/{assignment_id}/{name}", status_code=204, responses=responses(Stale, Invalid, TooLarge, Unavailable)
)
async def send(
    assignment_id: Id,
    name: FileName,
    service: ServiceDep,
    request: Request,
    token: LeaseToken,
    sha256: Annotated[str, Header(alias="X-Content-SHA256", pattern="^[0-9a-f]{64}$")],
) -> None:
    """Store a file from a worker on another machine, under its lease."""
    row = await run_in_threadpool(_source, service, assignment_id, token)
    place = service.core.store.place(row.study_id, row.id, name)
    async with service.core.store.receive(place, sha256, bounded(service, request, place)):
        await run_in_threadpool(_source, service, assignment_id, token)  # it may have run out during a long upload


@router.get(
    "/files/{assignment_id}/{name}", response_class=FileResponse, responses=responses(Stale, Invalid, NotFound) | BYTES
)
def fetch(assignment_id: Id, name: FileName, service: ServiceDep, token: LeaseToken) -> StoredFile:
    """Send a file of the assignment's folder, under its lease."""
    row = _source(service, assignment_id, token)
    file = service.core.store.open(service.core.store.place(row.study_id, row.id, name))
    return StoredFile(file, "application/octet-stream")


@router.get(
    "/datasets/{assignment_id}/{dataset_id}",
    response_class=FileResponse,
    responses=responses(Stale, Invalid, NotFound) | BYTES,
)
def fetch_dataset(assignment_id: Id, dataset_id: str, service: ServiceDep, token: LeaseToken) -> StoredFile:
    """Send an uploaded data set that the study of the assignment names, as it was uploaded, under its lease."""
    with service.core.database.transaction() as session:
        row = service.core.leases.lock_received(session, assignment_id, token)
        study = session.get_one(StudyRow, row.study_id)
        named = {ref.id: ref for ref in datasets.references(session, study)}
    if dataset_id not in named:
        raise NotFound(f"The study of this assignment names no data set {dataset_id[:100]} that is there.")
    ref = named[dataset_id]
    file = service.core.store.open(Place(store_folder(ref.id), stored_name(ref.kind)))
    return StoredFile(file, "application/octet-stream", ref.sha256)
