"""POST /v1/studies:plan: what a spec would run. A worker inspects model and data; nothing is stored."""

import secrets
import time

from fastapi import APIRouter, Request
from pydantic import ValidationError
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from luthier.service.api.body import SPEC_BODY, SpecBody
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.studies import installed
from luthier.service.dispatch import deletion
from luthier.service.errors import Invalid, Problem, TooLarge, Unavailable, invalid, responses
from luthier.service.lifecycle import transitions as lifecycle
from luthier.service.schemas import DataView, Fault, ModelPlan, PlanEstimates, PlanView
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import FINISHED, AssignmentKind, Reason
from luthier.studies.spec import StudySpec

router = APIRouter(tags=["studies"])
WAIT_SECONDS = 600.0  # a large model takes minutes to open the first time
NO_WORKER_SECONDS = 20.0  # how long a plan waits for a first worker to appear


@router.post("/v1/studies:plan", openapi_extra=SPEC_BODY, responses=responses(TooLarge, Invalid, Unavailable))
async def plan(spec: SpecBody, service: ServiceDep, request: Request) -> PlanView:
    """Split sizes, labels, the block table with trainable parameters at each depth, and estimates."""
    await run_in_threadpool(installed, spec)
    study_id = await run_in_threadpool(_start, service, spec)
    service.notifier.notify()
    started = time.monotonic()
    try:
        while True:
            study, row = await run_in_threadpool(_look, service, study_id)
            if row.state in FINISHED:
                return _answer(spec, study, row)
            waited = time.monotonic() - started
            if waited > NO_WORKER_SECONDS and not await run_in_threadpool(_any_worker, service):
                raise Unavailable(
                    "No worker is connected, and only a worker can open models and data: start one with "
                    "`luthier worker --server URL`.",
                    retry_after=10,
                )
            if waited > WAIT_SECONDS or service.notifier.closed or await request.is_disconnected():
                raise Unavailable("The workers are busy; try again later.", retry_after=60)
            await service.notifier.wait(1.0)
    finally:
        await run_in_threadpool(_remove, service, study_id)


def _start(service: Service, spec: StudySpec) -> int:
    with service.core.database.transaction() as session:
        name = f"plan:{secrets.token_hex(16)}"  # no study can have this name
        return lifecycle.create(session, service.core.leases, spec, name, transient=True).id


def _look(service: Service, study_id: int) -> tuple[StudyRow, AssignmentRow]:
    with service.core.database.reading() as session:
        inspect = (
            select(StudyRow, AssignmentRow)
            .join(AssignmentRow)
            .where(StudyRow.id == study_id, AssignmentRow.kind == AssignmentKind.INSPECT)
        )
        study, row = session.execute(inspect).one()
        return study, row


def _any_worker(service: Service) -> bool:
    with service.core.database.reading() as session:
        return service.core.presence.any_worker(session)


def _remove(service: Service, study_id: int) -> None:
    with service.core.database.transaction() as session:
        session.delete(session.get_one(StudyRow, study_id))
    deletion.drop_leftovers(service.core, study_id)


def _answer(spec: StudySpec, study: StudyRow, row: AssignmentRow) -> PlanView:
    if study.inspection is None:
        message, path = row.error or "The inspection failed.", ".".join(map(str, row.problem_path or []))
        if row.reason == Reason.BAD_DATA:
            raise Invalid(message, [Fault(path=path, message=message)])
        raise Problem(message)
    found = study.inspection
    try:
        space = spec.space.resolved(*found.depths)
    except ValidationError as error:
        raise invalid(error) from None
    estimates = None
    if found.estimates is not None:
        each, trials = found.estimates.seconds_per_trial, spec.budget.trials
        seconds = None if trials is None else each * trials / spec.parallel
        estimates = PlanEstimates(
            seconds_per_trial=each,
            seconds=seconds,
            memory_bytes=found.estimates.memory_bytes,
            batch_sizes=found.estimates.batch_sizes,
        )
    return PlanView(
        space=space.model_dump(mode="json"),
        data=DataView(rows=found.rows, labels=found.labels),
        models=[
            ModelPlan(model=name, blocks=model.blocks, trainable_parameters=model.trainable_parameters)
            for name, model in zip(spec.models, found.models, strict=True)
        ],
        estimates=estimates,
    )
