"""Routes of a study's trials (/v1/studies/{name}/trials): list, enqueue, logs."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.api import paging, views
from luthier.service.api.context import ServiceDep
from luthier.service.api.json_body import JsonRoute
from luthier.service.dispatch import own_trials
from luthier.service.errors import Conflict, Invalid, NotFound, Unavailable, invalid, responses
from luthier.service.lifecycle import study_rows
from luthier.service.schemas import Page, TrialView
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import AssignmentKind, TrialState

router = APIRouter(prefix="/v1/studies/{name}", tags=["trials"], route_class=JsonRoute)
Number = Annotated[int, Path(ge=0, lt=2**31)]


SEEDS = 2**32
PARAMS_SCHEMA = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": kind} for kind in ("boolean", "integer", "number", "string")]},
}


def _check_seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < SEEDS:
        raise ValueError(f"must be a whole number from 0 to {SEEDS - 1}, as a trial shows it; or leave it out")
    return value


class Configuration(BaseModel):
    """A user's own configuration, inside the bounds of the study's space; the sampler draws what it leaves out.

    Attributes:
        params: hyperparameter -> value.
        seed: of everything random in the trial, as another trial shows it: the same configuration with the same seed
            gives the same scores, also where the study has it already. Without one it is the study's for the trial's
            number, and the configuration must be new to the study.
    """

    model_config = ConfigDict(extra="forbid")
    params: Annotated[dict[str, Any], WithJsonSchema(PARAMS_SCHEMA)]
    seed: Annotated[int, BeforeValidator(_check_seed), Field(ge=0, lt=SEEDS)] | None = None


def find_trial(session: Session, name: str, number: int) -> AssignmentRow:
    """Return a trial's row. Raises NotFound."""
    study = study_rows.find(session, name)
    row = session.scalar(
        select(AssignmentRow).where(
            AssignmentRow.study_id == study.id,
            AssignmentRow.kind == AssignmentKind.TRAIN,
            AssignmentRow.number == number,
        )
    )
    if row is None:
        raise NotFound(f"{name} has no trial {number}.")
    return row


@router.get("/trials", responses=responses(NotFound, Invalid))
def listing(
    name: str,
    service: ServiceDep,
    state: Annotated[TrialState | None, Query(description="Only trials in this state.")] = None,
    cursor: paging.Cursor = None,
    limit: paging.Limit = 100,
) -> Page[TrialView]:
    """List trials by number."""
    position = paging.decode(cursor)
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        rows = select(AssignmentRow).where(
            AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.TRAIN
        )
        if state is not None:
            rows = rows.where(AssignmentRow.state == state)
        page, next_cursor = paging.fetch(session, rows, AssignmentRow.number, position, limit, newest_first=False)
        return Page(items=views.trial_views(session, page), next_cursor=next_cursor)


@router.get("/trials/{number}", responses=responses(NotFound, Invalid))
def get(name: str, number: Number, service: ServiceDep) -> TrialView:
    """Return a trial."""
    with service.core.database.reading() as session:
        return views.trial_views(session, [find_trial(session, name, number)])[0]


@router.post("/trials", status_code=201, responses=responses(NotFound, Conflict, Invalid, Unavailable))
def enqueue(name: str, configuration: Configuration, service: ServiceDep, response: Response) -> TrialView:
    """Have a configuration run next, within the study's budget of trials; with a `seed`, again if it has run before.

    The sampler draws the hyperparameters that it leaves out.
    """
    try:
        number = own_trials.enqueue(service.core, name, configuration.params, configuration.seed)
    except ValidationError as error:
        raise invalid(error) from None
    service.notifier.notify()
    response.headers["Location"] = f"/v1/studies/{name}/trials/{number}"
    return get(name, number, service)


@router.get("/trials/{number}/logs", response_class=PlainTextResponse, responses=responses(NotFound, Invalid))
def logs(name: str, number: Number, service: ServiceDep) -> PlainTextResponse:
    """Return what a trial has printed, up to its worker's latest message, as text."""
    with service.core.database.reading() as session:
        row = find_trial(session, name, number)
    return PlainTextResponse(service.core.store.read_log(row.study_id, row.id))
