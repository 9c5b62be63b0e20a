"""/v1/studies: made, listed, paused, resumed, stopped, cancelled, deleted; the winner's model."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from luthier.service.api import paging, views
from luthier.service.api.body import SPEC_BODY, SpecBody
from luthier.service.api.context import Service, ServiceDep
from luthier.service.dispatch import deletion as erase
from luthier.service.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable, responses
from luthier.service.lifecycle import transitions as lifecycle
from luthier.service.schemas import Fault, Page, StudyView
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import ENDED, StudyState
from luthier.studies.search.samplers import missing_packages
from luthier.studies.spec import StudySpec
from luthier.studies.wire import FileRef

router = APIRouter(prefix="/v1/studies", tags=["studies"])


@router.post(
    "",
    status_code=201,
    openapi_extra=SPEC_BODY,
    responses=responses(Conflict, TooLarge, Invalid, Unavailable) | {200: {"model": StudyView}},
)
def create(spec: SpecBody, service: ServiceDep, response: Response) -> StudyView:
    """A new study (201); the same spec again is the same study (200)."""
    installed(spec)
    try:
        made, view = _find_or_create(service, spec)
    except IntegrityError:  # another request made it between the look and the insert
        made, view = _find_or_create(service, spec)
    response.status_code = 201 if made else 200
    response.headers["Location"] = f"/v1/studies/{spec.name}"
    service.notifier.notify()
    return view


def _find_or_create(service: Service, spec: StudySpec) -> tuple[bool, StudyView]:
    """Whether the study is new, and the study. Raises Conflict when the name is taken by another spec."""
    with service.core.database.transaction() as session:
        study = session.scalar(select(StudyRow).where(StudyRow.name == spec.name))
        made = study is None
        if study is None:
            study = lifecycle.create(session, service.core.database, spec, spec.name)
        elif study.spec != spec:
            raise Conflict(f"The name {spec.name} is taken by a study with another spec; choose another name.")
        return made, views.study_views(session, [study])[0]


def installed(spec: StudySpec, *inside: str) -> None:
    """Raise Invalid when the sampler needs packages that the service lacks. `inside`: the path of the spec."""
    missing = missing_packages(spec)
    if missing:
        message = f"{spec.sampler.name} needs {', '.join(missing)} where the service runs: pip install it, or use tpe"
        path = ".".join((*inside, "sampler.name"))
        raise Invalid(f"{path}: {message}", [Fault(path=path, message=message)])


@router.get("", responses=responses(Invalid))
def listing(
    service: ServiceDep,
    state: Annotated[StudyState | None, Query(description="Only studies in this state.")] = None,
    cursor: paging.Cursor = None,
    limit: paging.Limit = 50,
) -> Page[StudyView]:
    """Studies, newest first."""
    before = paging.decode(cursor)
    statement = select(StudyRow).where(~StudyRow.transient).order_by(StudyRow.id.desc()).limit(limit + 1)
    if state is not None:
        statement = statement.where(StudyRow.state == state)
    if before is not None:
        statement = statement.where(StudyRow.id < before)
    with service.core.database.reading() as session:
        page, following = paging.cut(session.scalars(statement).all(), limit, lambda row: row.id)
        return Page(items=views.study_views(session, page), next_cursor=following)


@router.get("/{name}", responses=responses(NotFound))
def get(name: str, service: ServiceDep) -> StudyView:
    with service.core.database.reading() as session:
        return views.study_views(session, [lifecycle.find(session, name)])[0]


@router.post("/{name}/{action}", responses=responses(NotFound, Conflict))
def act(name: str, action: lifecycle.Action, service: ServiceDep) -> StudyView:
    """pause: start no new trials for now. resume. stop: let running trials finish. cancel: end running trials too."""
    with service.core.database.transaction() as session:
        study = lifecycle.locked(session, name)
        lifecycle.act(session, service.core.leases, study, action)
        view = views.study_views(session, [study])[0]
    if study.state in ENDED:
        service.reports.ended(study)
    service.notifier.notify()
    return view


@router.delete("/{name}", status_code=204, responses=responses(NotFound, Conflict))
def delete(name: str, service: ServiceDep) -> None:
    """Remove a study that has ended: its rows, its search, its files."""
    with service.core.database.reading() as session:
        study = lifecycle.find(session, name)
    if study.state not in ENDED:
        raise Conflict(f"{name} is {study.state}; cancel it first.")
    erase.study(service.core, study)


@router.get("/{name}/model", response_class=FileResponse, responses=responses(NotFound))
def model(name: str, service: ServiceDep) -> FileResponse:
    """The winner: a .tar.gz of a `save_pretrained` directory and `luthier.json`."""
    with service.core.database.reading() as session:
        study = lifecycle.find(session, name)
    if study.model is None:
        raise NotFound(f"{name} has no model yet: it is {study.state}, and the model comes when it has ended.")
    stored = dict(study.model)
    path = service.core.store.path(study.id, stored.pop("assignment"), FileRef.model_validate(stored))
    headers = {"X-Content-SHA256": stored["sha256"]}
    return FileResponse(path, media_type="application/gzip", filename=f"{name}.tar.gz", headers=headers)
