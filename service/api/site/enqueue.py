"""The form that has a configuration of one's own run next: a field for each hyperparameter that the study searches.

A field that stays empty is drawn by the sampler. Choices are sent by their place in the list: a word that looks like a
number stays a word. The key of the form makes a second push of its button harmless.
"""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from luthier.service.api import trials
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.site.forms import fault_of, field_values, number_or_text
from luthier.service.api.site.page import PageRoute, require_write, show
from luthier.service.api.trials import Configuration
from luthier.service.dispatch import trial_verbs
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.errors import Conflict, NotFound, Problem, invalid
from luthier.service.lifecycle import study_rows
from luthier.service.storage.tables import StudyRow
from luthier.studies.dimensions import Range, describe
from luthier.studies.hyperparameters import HYPERPARAMETERS, Params, Scalar
from luthier.studies.protocol import StudyState

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/studies/{name}/enqueue")
FIELD = "param."  # before a hyperparameter, in the names of fields
LONGEST_KEY = 100


@dataclass(frozen=True)
class Field:
    """A hyperparameter in the form.

    Attributes:
        name: the hyperparameter.
        about: a sentence on it; "" for one of the user's own.
        space: its dimension in words.
        choices: what it may be; () for a range.
        text: what the form holds for it: a number, or the place of a choice.
    """

    name: str
    about: str
    space: str
    choices: tuple[Scalar, ...]
    text: str


@router.get("")
def form(
    name: str, request: Request, service: ServiceDep, like: Annotated[int | None, Query(ge=0, lt=2**31)] = None
) -> HTMLResponse:
    """Show the form, empty or with the values of a trial. Raises NotFound, Conflict, Forbidden."""
    require_write(request)
    with service.core.database.reading() as session:
        study = _study(session, name)
        params = {} if like is None else dict(trial_verbs.find(session, study, like).params)
        fields = _fields(study, params)
    return _page(request, name, fields, "", uuid.uuid4().hex)


@router.post("")
async def enqueue(name: str, request: Request, service: ServiceDep) -> Response:
    """Have the configuration run next and lead to its trial; show the form again where it cannot run."""
    require_write(request)
    study = await run_in_threadpool(_read, service, name)
    names = [f"{FIELD}{key}" for key in study.spec.space.free()]
    typed = await field_values(request, [*names, "seed", "key"])
    return await run_in_threadpool(_enqueue, request, service, study, typed)


def _enqueue(request: Request, service: Service, study: StudyRow, typed: dict[str, str]) -> Response:
    key = typed["key"][:LONGEST_KEY] or uuid.uuid4().hex
    fields = [_typed(field, typed[FIELD + field.name]) for field in _fields(study, {})]
    params = {field.name: _value(field) for field in fields if field.text}
    try:
        configuration = Configuration.model_validate({"params": params, "seed": number_or_text(typed["seed"])})
        trial = trials.enqueue(study.name, configuration, service, Response(), key)
    except NotFound:
        raise
    except ValidationError as error:
        return _page(request, study.name, fields, typed["seed"], key, invalid(error))
    except Problem as problem:
        return _page(request, study.name, fields, typed["seed"], key, problem)
    waits = study.state == StudyState.QUEUED
    return RedirectResponse(f"/studies/{study.name}" + ("#waiting" if waits else f"/trials/{trial.number}"), 303)


def _page(
    request: Request, name: str, fields: list[Field], seed: str, key: str, problem: Problem | None = None
) -> HTMLResponse:
    faults = fault_of(problem, "params.") | fault_of(problem, "")
    values: dict[str, Any] = {"name": name, "fields": fields, "seed": seed, "key": key, "prefix": FIELD}
    status = problem.status if problem else 200
    return show(request, "enqueue.html", status, problem=problem, faults=faults, **values)


def _read(service: Service, name: str) -> StudyRow:
    with service.core.database.reading() as session:
        return _study(session, name)


def _study(session: Session, name: str) -> StudyRow:
    """Return a study whose space can be read. Raises NotFound, Conflict."""
    study = study_rows.find(session, name)
    if not study.is_readable:
        raise Conflict(f"{name} was written by another version of Luthier: its space cannot be read here.")
    return study


def _fields(study: StudyRow, params: Params) -> list[Field]:
    """Return the hyperparameters that a study searches, with the values of a configuration."""
    space = study.spec.space if study.inspection is None else resolved_space(study)
    fields = []
    for name, dimension in space.free().items():
        known = None if study.external else HYPERPARAMETERS.get(name)
        choices = () if isinstance(dimension, Range) else dimension
        value = params.get(name)
        text = "" if value is None else str(value)
        if choices:
            text = str(choices.index(value)) if value in choices else ""
        fields.append(Field(name, known.about if known else "", describe(dimension), choices, text))
    return fields


def _typed(field: Field, text: str) -> Field:
    return Field(field.name, field.about, field.space, field.choices, text)


def _value(field: Field) -> Any:
    """Return what a field says, in the space's type; what is none of the choices as it is, to be refused."""
    if field.choices and field.text.isdecimal() and int(field.text[:9]) < len(field.choices):
        return field.choices[int(field.text[:9])]
    return number_or_text(field.text)
