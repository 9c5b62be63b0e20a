"""Routes of studies (/v1/studies): create, list, pause, resume, stop, cancel, delete, download."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse
from sqlalchemy import select
from starlette.convertors import Convertor, register_url_convertor

from luthier.service.api import paging, views
from luthier.service.api.body import SPEC_BODY, StudyBody
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.creation import check_origin, check_sampler, find_or_create
from luthier.service.api.openapi import GZIP
from luthier.service.api.stored_file import StoredFile, stored_model
from luthier.service.dispatch import deletion
from luthier.service.dispatch.checkpoints import clean_up
from luthier.service.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable, responses
from luthier.service.lifecycle import actions, labels, study_rows, succession, transitions, warm_sources
from luthier.service.lifecycle.creation_limits import CreationLimits
from luthier.service.schemas import Page, StudyView
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import ENDED, StudyState
from luthier.studies.spec import StudySpec

router = APIRouter(prefix="/v1/studies", tags=["studies"])


class _Verb(Convertor[str]):
    """The part of a path that is an action: any other word is no path of this route, nor a method of another's path."""

    regex = "|".join(actions.Action)

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("verb", _Verb())


@router.post(
    "",
    status_code=201,
    openapi_extra=SPEC_BODY,
    responses=responses(NotFound, Conflict, TooLarge, Invalid, Unavailable) | {200: {"model": StudyView}},
)
def create(spec: StudyBody, service: ServiceDep, response: Response) -> StudyView:
    """Create a study (201); the same spec again returns the same study (200)."""
    check_sampler(spec)
    check_origin(spec)
    view = find_or_create(lambda: _find_or_create(service, spec), response, f"/v1/studies/{spec.name}")
    service.notifier.notify()
    return view


def _find_or_create(service: Service, spec: StudySpec) -> tuple[bool, StudyView]:
    """Return whether the study is new, and the study. Raises Conflict if another spec has the name."""
    with service.core.database.transaction() as session:
        study = session.scalar(select(StudyRow).where(StudyRow.name == spec.name, StudyRow.is_here()))
        created = study is None
        if study is None:
            CreationLimits(service.settings, service.core.database).check_study(session)
            spec = warm_sources.written_out(session, spec)
            study = transitions.create(session, service.core.leases, spec, spec.name)
            succession.keep_old_trials(session, study)
            if study.external:  # no inspection comes before its first trial
                succession.take_over(session, service.core.leases, service.core.store, study)
        elif not any(before.says_the_same(spec) for before in _told_specs(study)):
            raise Conflict(_taken(study, spec))
        view = views.study_view(session, study)
    if created and study.external and study.spec.takes_over is not None:
        service.core.searches.mend(study)  # Optuna gets the trials that were taken over before any is drawn
    return created, view


def _taken(study: StudyRow, spec: StudySpec) -> str:
    """Return why a spec cannot be created: a study has its name; with the cure."""
    if study.spec.model_copy(update={"budget": spec.budget}).says_the_same(spec):
        cure = f"only their budgets differ: `luthier extend {spec.name}` gives it more"
        return f"The name {spec.name} is taken by a study with another spec; {cure}."
    return f"The name {spec.name} is taken by a study with another spec; choose another name."


def _told_specs(study: StudyRow) -> list[StudySpec]:
    """Return a study's spec as users may have sent it: as it is, and with the budget that it had before extensions."""
    first = study.first_budget
    return [study.spec] if first is None else [study.spec, study.spec.model_copy(update={"budget": first})]


@router.get("", responses=responses(Invalid))
def listing(
    service: ServiceDep,
    state: Annotated[StudyState | None, Query(description="Only studies in this state.")] = None,
    tag: Annotated[
        list[str] | None, Query(max_length=20, description="Only studies with this tag; repeated: with each of them.")
    ] = None,
    search: Annotated[str | None, Query(max_length=100, description="Only studies whose name holds this text.")] = None,
    cursor: paging.Cursor = None,
    limit: paging.Limit = 50,
) -> Page[StudyView]:
    """List studies, newest first."""
    position = paging.decode(cursor)
    rows = select(StudyRow).where(study_rows.is_shown())
    if state is not None:
        rows = rows.where(StudyRow.state == state)
    rows = rows.where(*map(labels.has_tag, tag or ()))
    if search:
        rows = rows.where(StudyRow.name.icontains(search, autoescape=True))
    with service.core.database.reading() as session:
        page, next_cursor = paging.fetch(session, rows, StudyRow.id, position, limit)
        items = views.study_views(session, page, *service.core.standstill(session))
        return Page(items=items, next_cursor=next_cursor)


@router.get("/{name}", responses=responses(NotFound))
def get(name: str, service: ServiceDep, response: Response) -> StudyView:
    """Return a study, and the ETag of what a PATCH changes of it."""
    with service.core.database.reading() as session:
        view = views.study_view(session, study_rows.find(session, name), *service.core.standstill(session))
    if view.etag is not None:
        response.headers["ETag"] = view.etag
    return view


@router.post("/{name}/{action:verb}", responses=responses(NotFound, Conflict))
def act(name: str, action: actions.Action, service: ServiceDep) -> StudyView:
    """Pause, resume, stop or cancel a study.

    pause: start no new trials for now. resume: start them again, or measure the winner again. stop: let running trials
    finish, then measure the winner. cancel: end running trials too.
    """
    with service.core.database.transaction() as session:
        study = study_rows.lock(session, name)
        actions.act(session, service.core.leases, study, action)
        view = views.study_view(session, study)
    if study.state in ENDED:
        clean_up(service.core, study)
    service.notifier.notify()
    return view


@router.delete("/{name}", status_code=204, responses=responses(NotFound, Conflict))
def delete(name: str, service: ServiceDep) -> None:
    """Delete a study that has ended: its rows, its search, its files."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
    if study.state not in ENDED:
        raise Conflict(f"{name} is {study.state}; cancel it first.")
    deletion.delete_study(service.core, study)


@router.get("/{name}/model", response_class=FileResponse, responses=responses(NotFound) | GZIP)
def model(name: str, service: ServiceDep) -> StoredFile:
    """Download the winner: a .tar.gz of a `save_pretrained` directory and `luthier.json`."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
    if study.external:
        raise NotFound(f"{name} has no model here: its trainer is its user's own, and keeps its models itself.")
    if study.model is None:
        raise NotFound(f"{name} has no model yet: it is {study.state}, and the model comes when it has ended.")
    store = service.core.store
    return stored_model(store, store.place(study.id, study.model.assignment, study.model.name), study.model, name)
