"""Routes of external studies, whose trainer is the user's own: ask for a trial, report its scores, tell its end.

It is the worker protocol under a user's token; `dispatch/external_trials.py` does the work.
"""

import asyncio
import time
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from starlette.concurrency import run_in_threadpool

from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.json_body import JsonRoute
from luthier.service.api.trial_views import trial_views
from luthier.service.api.worker import given_back, hang_up
from luthier.service.dispatch.external_messages import End, Evaluation
from luthier.service.dispatch.external_trials import ExternalTrials
from luthier.service.errors import Conflict, Gone, Invalid, NotFound, Stale, Unavailable, responses
from luthier.service.schemas import AskedTrialView, Fault, ResumeView, TrialView, WaitView
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.documents import refuse
from luthier.studies.protocol import Answer, Assignment, Reason
from luthier.studies.wire import WORKER_NAME, Metrics, Score, Sentence

router = APIRouter(prefix="/v1/studies/{name}", tags=["external"], route_class=JsonRoute)
RETRY_SECONDS = 5  # after which to ask again; a client that waits in its request is answered at once
LONGEST_LEASE = 7 * 86_400.0
Token = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]*$")]
Log = Annotated[str, Field(max_length=1_000_000)]


class Body(BaseModel):
    """A message of a trainer; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Ask(Body):
    """A request for a trial.

    Attributes:
        worker: a name of the program that asks, for people.
        wait_seconds: how long to wait for a trial where none may start now.
        lease_seconds: how long the lease is to last without a message; left out, as long as those of workers.
    """

    worker: str = Field("external", pattern=WORKER_NAME)
    wait_seconds: FiniteFloat = Field(0, ge=0, le=60, strict=True)
    lease_seconds: FiniteFloat | None = Field(None, ge=1, le=LONGEST_LEASE, strict=True)


class Said(Body):
    """An evaluation of a trial; without a step it only renews the lease.

    Attributes:
        token: of the lease.
        step: of the evaluation, in the user's own unit: epochs, batches. Each is above the one before.
        metrics: name -> score, the objective's among them; null where it is not a finite number.
        checkpoint: where another trainer could continue, in words of your own, as a path or URL.
        log: new lines of the trial's log.
    """

    token: Token
    step: int | None = Field(None, ge=1, lt=2**31)
    metrics: Metrics = Field(default_factory=dict)
    checkpoint: Sentence | None = None
    log: Log = ""

    @model_validator(mode="after")
    def _step_and_metrics(self) -> Self:
        if self.step is None and (self.metrics or self.checkpoint is not None):
            raise refuse("report", (("step",), "is missing: say at which step of the trial this was"))
        return self


class Told(Body):
    """The end of a trial.

    Attributes:
        token: of its lease.
        state: complete; pruned, after a report was answered so; failed; released: given back, for another to continue.
        value: its score, short for the objective among `metrics`; null where it is not a finite number. Left out, the
            score is that of its reports, as the objective's `measurement` says.
        metrics: name -> final score; they join those of the last report.
        reason: of a failure.
        message: the same for people.
        log: new lines of the trial's log.
    """

    token: Token
    state: Literal["complete", "pruned", "failed", "released"] = "complete"
    value: Score = None
    metrics: Metrics = Field(default_factory=dict)
    reason: Literal["oom", "diverged", "timeout", "error"] | None = None
    message: Sentence | None = None
    log: Log = ""

    @model_validator(mode="after")
    def _reason_of_failure(self) -> Self:
        if self.reason is not None and self.state != "failed":
            raise refuse("tell", (("reason",), f"has no meaning for {self.state}; it is for state: failed"))
        if "value" in self.model_fields_set and self.state != "complete":
            raise refuse("tell", (("value",), f"has no meaning for {self.state}; it is for state: complete"))
        return self


def _trials(service: Service) -> ExternalTrials:
    return ExternalTrials(service.core, service.claims, service.reports)


@router.post(
    "/ask",
    response_model=AskedTrialView,
    responses=responses(NotFound, Conflict, Gone, Invalid, Unavailable)
    | {202: {"model": WaitView, "description": "No trial may start now; ask again after Retry-After seconds."}},
)
async def ask(name: str, service: ServiceDep, request: Request, asked: Ask | None = None) -> Response:
    """Lease a trial of an external study to the caller: a queued one, else a new one.

    202 where none may start now: the study is paused, or runs as many as it may. 410 once it has ended.
    """
    asked = asked or Ask()
    until = time.monotonic() + asked.wait_seconds
    hung_up = asyncio.create_task(hang_up(request))
    try:
        while True:
            if service.notifier.closed:
                raise Unavailable("The service stops; ask again once it is back.", retry_after=1)
            found = await run_in_threadpool(_trials(service).ask, name, asked.worker, asked.lease_seconds)
            left = until - time.monotonic()
            if not isinstance(found, str) or left <= 0 or hung_up.done():
                break
            await service.notifier.wait(min(left, 1.0))
        gone = hung_up.done()
    finally:
        hung_up.cancel()
    if isinstance(found, str):
        waiting = WaitView(message=found, retry_after_seconds=RETRY_SECONDS)
        return _json(waiting, 202, {"Retry-After": str(RETRY_SECONDS)})
    if gone:
        await run_in_threadpool(service.reports.finish, given_back(found[0]))
        service.notifier.notify()
    return _json(_asked_trial(*found), 200, {})


def _json(view: BaseModel, status: int, headers: dict[str, str]) -> Response:
    return Response(view.model_dump_json(), status, headers, "application/json")


def _asked_trial(assignment: Assignment, row: AssignmentRow) -> AskedTrialView:
    return AskedTrialView(
        study=assignment.study,
        number=row.number,
        params=assignment.params,
        seed=assignment.seed,
        token=assignment.token,
        attempt=assignment.attempt,
        lease_seconds=assignment.lease_seconds,
        steps=assignment.spec.steps,
        resume=ResumeView(step=row.step, best_step=row.best_step, best_value=row.value, checkpoint=row.own_checkpoint),
    )


@router.post("/report", responses=responses(NotFound, Conflict, Stale, Invalid))
def report(name: str, said: Said, service: ServiceDep) -> Answer:
    """Take an evaluation of a trial, and extend its lease; the answer says whether to go on.

    continue; prune: end now, and tell pruned; stop: end now, and tell complete, as the study's time is up. A step that
    was reported before changes nothing and gets the same answer. 409: the lease is over, drop the work.
    """
    evaluation = Evaluation(said.step, said.metrics, said.checkpoint, said.log)
    return _trials(service).report(name, said.token, evaluation)


@router.post("/tell", responses=responses(NotFound, Conflict, Stale, Invalid))
def tell(name: str, told: Told, service: ServiceDep) -> TrialView:
    """Take the end of a trial, and return it as it is then. The same again changes nothing.

    409: the lease is over, or the trial has ended with another state or score already, which stays.
    """
    trials = _trials(service)
    metrics: dict[str, Any] = dict(told.metrics)
    if "value" in told.model_fields_set:
        metric = trials.objective(name)
        if metrics.setdefault(metric, told.value) != told.value:
            text = f"differs from metrics.{metric}: give one of the two"
            raise Invalid(f"value: {text}", [Fault(path="value", message=text)])
    reason = None if told.reason is None else Reason(told.reason)
    row = trials.tell(name, told.token, End(told.state, metrics, reason, told.message, told.log))
    service.notifier.notify()
    with service.core.database.reading() as session:
        return trial_views(session, [session.get_one(AssignmentRow, row.id)])[0]
