"""Routes of a study's trials (/v1/studies/{name}/trials): list, enqueue, logs. Verbs of one: `trial_verbs.py`."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from sqlalchemy import select

from luthier.service.api import paging, trial_order
from luthier.service.api.context import ServiceDep
from luthier.service.api.json_body import JsonRoute
from luthier.service.api.trial_views import trial_views
from luthier.service.api.waiting_views import waiting_page, waiting_view
from luthier.service.dispatch import own_trials, trial_verbs, waiting_trials
from luthier.service.dispatch.requests import HEADER, Request
from luthier.service.errors import Conflict, Invalid, NotFound, Unavailable, invalid, responses
from luthier.service.lifecycle import study_rows
from luthier.service.schemas import Fault, Page, TrialView
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import AssignmentKind, TrialState

router = APIRouter(prefix="/v1/studies/{name}", tags=["trials"], route_class=JsonRoute)
Number = Annotated[int, Path(ge=0, lt=2**31)]


SEEDS = 2**32
SEED_SCHEMA = {"type": "integer", "minimum": 0, "maximum": SEEDS - 1}
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
    seed: Annotated[int, BeforeValidator(_check_seed), WithJsonSchema(SEED_SCHEMA)] | None = None


def _check_states(texts: list[str]) -> list[str]:
    states = [state for text in texts for state in text.split(",")]
    if unknown := next((state for state in states if state not in set(TrialState)), None):
        raise ValueError(f"must be one of {', '.join(TrialState)}, and not {unknown[:40]!r}")
    return states


STATES_SCHEMA = {"type": "array", "items": {"type": "string", "enum": list(TrialState)}}
States = Annotated[
    Annotated[list[str], AfterValidator(_check_states), WithJsonSchema(STATES_SCHEMA)] | None,
    Query(max_length=20, description="Only trials in one of these states; repeated, or with commas."),
]
Key = Annotated[
    str | None,
    Header(
        alias=HEADER,
        description="Makes it safe to send the request again: the same key answers the same trial. 1 to 255 characters "
        "of visible ASCII, with or without quotes; kept as long as the study.",
        json_schema_extra={"pattern": "^[!-~]{1,255}$"},
    ),
]


def _checked_key(text: str | None) -> str | None:
    """Return an Idempotency-Key without its quotes. Raises Invalid."""
    if text is None:
        return None
    key = text.strip()
    key = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    if not 1 <= len(key) <= 255 or not all("!" <= letter <= "~" for letter in key):
        message = "must be 1 to 255 characters of visible ASCII, such as a UUID"
        raise Invalid(f"{HEADER}: {message}", [Fault(path=HEADER, message=message)])
    return key


@router.get("/trials", responses=responses(NotFound, Invalid))
def listing(
    name: str,
    service: ServiceDep,
    state: States = None,
    sort: trial_order.Sort = None,
    cursor: trial_order.Cursor = None,
    limit: paging.Limit = 100,
) -> Page[TrialView]:
    """List trials by number, or sorted by a value of theirs."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        order = trial_order.Order(study, sort)
        waiting = waiting_trials.waiting(session, study.id)
        if waiting:
            return waiting_page(study, waiting, state, order.sort == "-number", cursor, limit)
        rows = select(AssignmentRow).where(
            AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.TRAIN, ~AssignmentRow.deleted
        )
        if state:
            rows = rows.where(AssignmentRow.state.in_(state))
        if order.sort == "number":
            position = paging.decode(cursor)
            page, following = paging.fetch(session, rows, AssignmentRow.number, position, limit, newest_first=False)
        else:
            page, following = order.page(session, rows, cursor, limit)
        return Page(items=trial_views(session, page), next_cursor=following)


@router.get("/trials/{number}", responses=responses(NotFound, Invalid))
def get(name: str, number: Number, service: ServiceDep) -> TrialView:
    """Return a trial."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        waiting = waiting_trials.waiting(session, study.id)
        if 0 < number <= len(waiting):
            waiting_trials.check_there(study, number, waiting[number - 1])
            return waiting_view(study, number, waiting[number - 1])
        return trial_views(session, [trial_verbs.find(session, study, number)])[0]


@router.post(
    "/trials",
    status_code=201,
    responses=responses(NotFound, Conflict, Invalid, Unavailable) | {200: {"model": TrialView}},
)
def enqueue(
    name: str, configuration: Configuration, service: ServiceDep, response: Response, key: Key = None
) -> TrialView:
    """Have a configuration run next, within the study's budget of trials; with a `seed`, again if it has run before.

    The sampler draws the hyperparameters that it leaves out. Before the study's inspection it waits, and is trial 1, 2,
    ... right after the baseline; if the inspection shows it to be impossible, that trial fails with a sentence.
    """
    request = Request(configuration.params, configuration.seed, _checked_key(key))
    try:
        added = own_trials.enqueue(service.core, name, request)
    except ValidationError as error:
        raise invalid(error) from None
    if not added.is_new:
        response.status_code = 200
    service.notifier.notify()
    response.headers["Location"] = f"/v1/studies/{name}/trials/{added.number}"
    return get(name, added.number, service)


@router.get("/trials/{number}/logs", response_class=PlainTextResponse, responses=responses(NotFound, Invalid))
def logs(name: str, number: Number, service: ServiceDep) -> PlainTextResponse:
    """Return what a trial has printed, up to its worker's latest message, as text."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        waiting = waiting_trials.waiting(session, study.id)
        if 0 < number <= len(waiting):
            waiting_trials.check_there(study, number, waiting[number - 1])
            return PlainTextResponse("")
        row = trial_verbs.find(session, study, number)
    return PlainTextResponse(service.core.store.read_log(row.study_id, row.id))
