"""Routes of the worker protocol (/v1/worker), which ask for the worker token.

The messages are in studies/protocol.py. Every message about an assignment carries the token of its lease.
"""

import time
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.stored_file import StoredFile
from luthier.service.errors import Invalid, NotFound, Stale, Unauthorized, responses
from luthier.service.lifecycle import winner
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import Answer, Assignment, AssignmentKind, Claim, Outcome, Renewal, Report
from luthier.studies.wire import FileName

router = APIRouter(prefix="/v1/worker", tags=["worker"], responses=responses(Unauthorized))
MAX_FILE_BYTES = 2**50  # none, in effect: models have the size they have
POLL_SECONDS = 1.0  # between looks for changes by other services of the same database
Id = Annotated[int, Path(ge=1, lt=2**63)]
LeaseToken = Annotated[str, Header(alias="X-Lease-Token", max_length=64)]


@router.post(
    "/claim",
    response_model=Assignment,
    responses=responses(Invalid) | {204: {"description": "No work within wait_seconds."}},
)
async def claim(claim: Claim, service: ServiceDep, request: Request) -> Response:
    """Hand out an assignment, or answer 204 when there is none within `wait_seconds`."""
    # Many workers wait here at the same time: they must not take the threads of other requests.
    until = time.monotonic() + claim.wait_seconds
    while True:
        assignment = await run_in_threadpool(service.claims.claim, claim)
        if assignment is not None:
            return Response(assignment.model_dump_json(), media_type="application/json")
        left = until - time.monotonic()
        if left <= 0 or service.notifier.closed:
            return Response(status_code=204)
        await service.notifier.wait(min(left, POLL_SECONDS))
        if await request.is_disconnected():
            return Response(status_code=204)


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
        row = service.core.leases.lock_held(session, assignment_id, token)
        if row.kind != AssignmentKind.EVALUATE:
            return row
        return winner.winning_assignment(session, session.get_one(StudyRow, row.study_id))


@router.put(
    "/files/{assignment_id}/{name}", status_code=204, responses=responses(Stale, Invalid), max_body_size=MAX_FILE_BYTES
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
    async with service.core.store.receive(place, sha256, request.stream()):
        await run_in_threadpool(_source, service, assignment_id, token)  # it may have run out during a long upload


@router.get("/files/{assignment_id}/{name}", response_class=FileResponse, responses=responses(Stale, Invalid, NotFound))
def fetch(assignment_id: Id, name: FileName, service: ServiceDep, token: LeaseToken) -> StoredFile:
    """Send a file of the assignment's folder, under its lease."""
    row = _source(service, assignment_id, token)
    file = service.core.store.open(service.core.store.place(row.study_id, row.id, name))
    return StoredFile(file, "application/octet-stream")
