"""The route of plans (POST /v1/plan, formerly /v1/studies:plan): a worker inspects model and data for a spec.

Nothing is stored: the inspection belongs to a transient study, which is removed before the answer.
"""

import math
import secrets
import time

from fastapi import APIRouter, Request
from pydantic import ValidationError
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from luthier.service.api.body import SPEC_BODY, SpecBody
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.cost_views import planned_costs
from luthier.service.api.creation import check_sampler
from luthier.service.api.views import data_view
from luthier.service.dispatch import deletion
from luthier.service.errors import Invalid, Problem, TooLarge, Unavailable, invalid, responses
from luthier.service.lifecycle import transitions, warm_sources
from luthier.service.schemas import Fault, ModelPlan, PlanEstimates, PlanView, PrunerPlan, RungPlan
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.asha import planned_rungs
from luthier.studies.external import NOTHING_TO_INSPECT
from luthier.studies.first_trials import first_trials
from luthier.studies.preset_remarks import preset_remarks
from luthier.studies.protocol import FINISHED, AssignmentKind, Reason
from luthier.studies.prunable import comparison_note, prunable_trials
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec

router = APIRouter(tags=["studies"])
WAIT_SECONDS = 600.0  # a large model takes minutes to open the first time
NO_WORKER_SECONDS = 20.0  # how long a plan waits for a first worker to appear


ANSWERS = responses(TooLarge, Invalid, Unavailable)


@router.post("/v1/studies:plan", openapi_extra=SPEC_BODY, responses=ANSWERS, deprecated=True, name="plan_by_colon")
@router.post("/v1/plan", openapi_extra=SPEC_BODY, responses=ANSWERS)
async def plan(spec: SpecBody, service: ServiceDep, request: Request) -> PlanView:
    """Return split sizes, labels, blocks with the trainable parameters at each freeze depth, estimates, pruning."""
    await run_in_threadpool(check_sampler, spec)
    spec = await run_in_threadpool(_written_out, service, spec)
    if spec.is_external:
        return _external_plan(spec)
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
            if service.notifier.closed:
                raise Unavailable("The service stops; ask again once it is back.", retry_after=5)
            if waited > WAIT_SECONDS or await request.is_disconnected():
                raise Unavailable("The workers are busy; try again later.", retry_after=60)
            await service.notifier.wait(1.0)
    finally:
        await run_in_threadpool(_remove, service, study_id)


def _external_plan(spec: StudySpec) -> PlanView:
    """Return the plan of a study whose trainer is the user's own: nobody has to open anything for it."""
    space, first = spec.space.model_dump(mode="json"), first_trials(spec, NOTHING_TO_INSPECT)
    return PlanView(
        space=space, data=data_view(NOTHING_TO_INSPECT), models=[], pruner=_pruner(spec, spec.space), first=first
    )


def _written_out(service: Service, spec: StudySpec) -> StudySpec:
    """Return a spec with what its warm start stands for now. Raises Invalid."""
    with service.core.database.reading() as session:
        return warm_sources.written_out(session, spec)


def _start(service: Service, spec: StudySpec) -> int:
    """Create the transient study with its inspection queued; return its id."""
    with service.core.database.transaction() as session:
        name = f"plan:{secrets.token_hex(16)}"  # no study can have this name
        return transitions.create(session, service.core.leases, spec, name, transient=True).id


def _look(service: Service, study_id: int) -> tuple[StudyRow, AssignmentRow]:
    """Return the transient study and its inspection, as they are now."""
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
    """Delete the transient study, its rows and its files."""
    with service.core.database.transaction() as session:
        session.delete(session.get_one(StudyRow, study_id))
    deletion.drop_leftovers(service.core, study_id)


def _answer(spec: StudySpec, study: StudyRow, row: AssignmentRow) -> PlanView:
    """Return the plan of an inspection that has ended. Raises Invalid for bad data, Problem for another failure."""
    if study.inspection is None:
        message = row.error or "The inspection failed."
        path = ".".join(map(str, row.problem_path or []))
        if row.reason == Reason.BAD_DATA:
            raise Invalid(message, [Fault(path=path, message=message.removeprefix(f"{path}: "))])
        raise Problem(message)
    inspection = study.inspection
    try:
        space = spec.resolved_space(inspection)
    except ValidationError as error:
        raise invalid(error) from None
    estimates = None
    if inspection.estimates is not None:
        each = inspection.estimates.seconds_per_trial
        seconds = None if spec.budget.trials is None else each * spec.budget.trials / spec.parallel
        estimates = PlanEstimates(
            seconds_per_trial=each,
            seconds=seconds,
            memory_bytes=inspection.estimates.memory_bytes,
            batch_sizes=inspection.estimates.batch_sizes,
        )
    return PlanView(
        space=space.model_dump(mode="json"),
        data=data_view(inspection),
        models=[
            ModelPlan(
                model=name,
                blocks=model.blocks,
                trainable_parameters=model.trainable_parameters,
                seconds_per_trial=seconds,
                probe=model.probe,
            )
            for name, model, seconds in zip(
                spec.models, inspection.models, planned_costs(spec, space, inspection), strict=True
            )
        ],
        estimates=estimates,
        pruner=_pruner(spec, space),
        first=first_trials(spec, inspection),
        remarks=preset_remarks(spec),
        limits=[] if estimates is None else _limits(spec, estimates.seconds_per_trial),
    )


def _limits(spec: StudySpec, seconds_per_trial: float) -> list[str]:
    """Return what the limits of a spec mean for its trials, a sentence each."""
    limit = spec.budget.trial_seconds
    if limit is None:
        return []
    text = f"budget.trial_seconds ends a trial after {limit:g} s"
    if seconds_per_trial <= limit:
        return [f"{text}; one at the baseline takes about {seconds_per_trial:.1f} s."]
    cure = "Raise it, or lower space.epochs"
    return [f"{text}, before its end: one at the baseline takes about {seconds_per_trial:.1f} s. {cure}."]


def _pruner(spec: StudySpec, space: Space) -> PrunerPlan:
    """Return what the spec's pruner can do among the trials of its resolved space."""
    trials = spec.possible_trials(space)
    count = None if math.isinf(trials.count) else int(trials.count)
    planned = planned_rungs(spec.pruner, trials.count, trials.longest)
    return PrunerPlan(
        name=spec.pruner.name,
        trials=count,
        prunable_trials=prunable_trials(spec.pruner, trials),
        note=comparison_note(spec.pruner, trials),
        rungs=[RungPlan(step=rung.step, trials=rung.trials) for rung in planned],
    )
