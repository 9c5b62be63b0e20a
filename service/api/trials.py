"""Routes of a study's trials (/v1/studies/{name}/trials): list, enqueue, logs."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.api import paging, views
from luthier.service.api.context import ServiceDep
from luthier.service.dispatch import own_trials
from luthier.service.errors import Conflict, Invalid, NotFound, Unavailable, invalid, responses
from luthier.service.lifecycle import study_rows
from luthier.service.schemas import Page, TrialView
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import AssignmentKind, TrialState

router = APIRouter(prefix="/v1/studies/{name}", tags=["trials"])
Number = Annotated[int, Path(ge=0, lt=2**31)]


class Configuration(BaseModel):
    """A user's own configuration: every searched dimension of the study's space, inside its bounds.

    Attributes:
        params: hyperparameter -> value.
    """

    model_config = ConfigDict(extra="forbid")
    params: dict[str, bool | int | float | str]


def _trial(session: Session, name: str, number: int) -> AssignmentRow:
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
        return views.trial_views(session, [_trial(session, name, number)])[0]


@router.post("/trials", status_code=201, responses=responses(NotFound, Conflict, Invalid, Unavailable))
def enqueue(name: str, configuration: Configuration, service: ServiceDep, response: Response) -> TrialView:
    """Have a configuration run next, within the study's budget of trials."""
    try:
        number = own_trials.enqueue(service.core, name, configuration.params)
    except ValidationError as error:
        raise invalid(error) from None
    service.notifier.notify()
    response.headers["Location"] = f"/v1/studies/{name}/trials/{number}"
    return get(name, number, service)


@router.get("/trials/{number}/logs", response_class=PlainTextResponse, responses=responses(NotFound, Invalid))
def logs(name: str, number: Number, service: ServiceDep) -> PlainTextResponse:
    """Return what a trial has printed, up to its worker's latest message, as text."""
    with service.core.database.reading() as session:
        row = _trial(session, name, number)
    return PlainTextResponse(service.core.store.read_log(row.study_id, row.id))
