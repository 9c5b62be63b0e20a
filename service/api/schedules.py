"""Routes of schedules (/v1/schedules): create, list, change, trigger, delete; runs and champions."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse
from pydantic import ValidationError
from sqlalchemy import func, select
from starlette.concurrency import run_in_threadpool

from luthier.service.api import paging, plot_page
from luthier.service.api.body import CHANGES_BODY, SCHEDULE_BODY, ChangesBody, ScheduleBody
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.creation import check_sampler, find_or_create
from luthier.service.api.openapi import GZIP
from luthier.service.api.plots import Standalone
from luthier.service.api.preconditions import IfMatch, check_match
from luthier.service.api.stored_file import StoredFile, stored_model
from luthier.service.errors import (
    Conflict,
    Invalid,
    NotFound,
    PreconditionFailed,
    TooLarge,
    Unavailable,
    invalid,
    responses,
)
from luthier.service.lifecycle import datasets
from luthier.service.schedules import champions, definitions, due_times, plots
from luthier.service.schedules import views as schedule_views
from luthier.service.schemas import Page, RunView, ScheduleView
from luthier.service.storage.schedule_tables import RunRow, ScheduleRow
from luthier.studies.schedule import ScheduleSpec
from luthier.studies.schedule_runs import RunState

router = APIRouter(prefix="/v1/schedules", tags=["schedules"])


@router.post(
    "",
    status_code=201,
    openapi_extra=SCHEDULE_BODY,
    responses=responses(NotFound, Conflict, TooLarge, Invalid, Unavailable) | {200: {"model": ScheduleView}},
)
def create(spec: ScheduleBody, service: ServiceDep, response: Response) -> ScheduleView:
    """Create a schedule (201), due from now on; the same document again returns the same schedule (200)."""
    check_sampler(spec.study, "study")
    return find_or_create(lambda: _find_or_create(service, spec), response, f"/v1/schedules/{spec.name}")


def _find_or_create(service: Service, spec: ScheduleSpec) -> tuple[bool, ScheduleView]:
    with service.core.database.transaction() as session:
        created, schedule = definitions.find_or_create(session, service.core.database, spec)
        if created:
            datasets.hold(session, spec.study, "study")
        return created, schedule_views.schedule_view(session, schedule)


@router.get("", responses=responses(Invalid))
def listing(service: ServiceDep, cursor: paging.Cursor = None, limit: paging.Limit = 50) -> Page[ScheduleView]:
    """List schedules, newest first."""
    position = paging.decode(cursor)
    with service.core.database.reading() as session:
        page, next_cursor = paging.fetch(
            session, select(ScheduleRow).where(ScheduleRow.is_here()), ScheduleRow.id, position, limit
        )
        return Page(items=schedule_views.schedule_views(session, page), next_cursor=next_cursor)


@router.get("/{name}", responses=responses(NotFound))
def get(name: str, service: ServiceDep, response: Response) -> ScheduleView:
    """Return a schedule, and the ETag of what a PATCH changes of it."""
    with service.core.database.reading() as session:
        view = schedule_views.schedule_view(session, definitions.find(session, name))
    if view.etag is not None:
        response.headers["ETag"] = view.etag
    return view


@router.patch(
    "/{name}", openapi_extra=CHANGES_BODY, responses=responses(NotFound, PreconditionFailed, TooLarge, Invalid)
)
def change(
    name: str, changes: ChangesBody, service: ServiceDep, response: Response, if_match: IfMatch = None
) -> ScheduleView:
    """Replace some keys, each as a whole; null puts a key back to its default. `{"paused": true}` pauses."""
    service.scheduler.clean_up_ended(due_times.fire(service.core))  # pending due times fire under the old cron
    try:
        with service.core.database.transaction() as session:
            schedule = definitions.lock(session, name)
            etag, before = definitions.etag(schedule), schedule.spec
            definitions.change(session, service.core.database, schedule, changes)
            check_match(if_match, etag, is_done=before == schedule.spec)
            check_sampler(schedule.spec.study, "study")
            datasets.hold(session, schedule.spec.study, "study")
            view = schedule_views.schedule_view(session, schedule)
            response.headers["ETag"] = view.etag or ""
            return view
    except ValidationError as error:
        raise invalid(error) from None


@router.delete("/{name}", status_code=204, responses=responses(NotFound, Conflict))
def delete(name: str, service: ServiceDep) -> None:
    """Delete a schedule, its runs and its champions. The studies of its runs stay."""
    with service.core.database.transaction() as session:
        schedule = definitions.lock(session, name)
        definitions.remove(session, schedule)
    service.core.store.remove_schedule(schedule.id)


@router.post("/{name}/trigger", status_code=201, responses=responses(NotFound, Conflict))
def trigger(name: str, service: ServiceDep) -> RunView:
    """Start a run now, also on unchanged data and while the schedule is paused."""
    with service.core.database.transaction() as session:
        schedule = definitions.lock(session, name)
        run, ended = due_times.trigger(service.core, session, schedule, service.core.database.time(session))
        view = schedule_views.run_views(session, schedule, [run])[0]
    service.scheduler.clean_up_ended(ended)
    service.notifier.notify()
    return view


@router.get("/{name}/runs", responses=responses(NotFound, Invalid))
def runs(
    name: str,
    service: ServiceDep,
    state: Annotated[RunState | None, Query(description="Only runs in this state.")] = None,
    cursor: paging.Cursor = None,
    limit: paging.Limit = 50,
) -> Page[RunView]:
    """List every due time and its outcome, newest first."""
    position = paging.decode(cursor)
    with service.core.database.reading() as session:
        schedule = definitions.find(session, name)
        run_rows = select(RunRow).where(RunRow.schedule_id == schedule.id)
        if state is not None:
            run_rows = run_rows.where(RunRow.state == state)
        page, next_cursor = paging.fetch(session, run_rows, RunRow.id, position, limit)
        return Page(items=schedule_views.run_views(session, schedule, page), next_cursor=next_cursor)


@router.get("/{name}/runs/{run_id}", responses=responses(NotFound, Invalid))
def run(name: str, run_id: Annotated[int, Path(ge=1, lt=2**63)], service: ServiceDep) -> RunView:
    """Return a run, with the decision in full."""
    with service.core.database.reading() as session:
        schedule = definitions.find(session, name)
        row = session.get(RunRow, run_id)
        if row is None or row.schedule_id != schedule.id:
            raise NotFound(f"{name} has no run {run_id}.")
        return schedule_views.run_views(session, schedule, [row])[0]


@router.get("/{name}/champion", response_class=FileResponse, responses=responses(NotFound) | GZIP)
def champion(name: str, service: ServiceDep) -> StoredFile:
    """Download the model in use: a .tar.gz of a `save_pretrained` directory and `luthier.json`."""
    with service.core.database.reading() as session:
        in_use = champions.current(session, definitions.find(session, name))
    if in_use is None:
        raise NotFound(f"{name} has no champion yet: its first run that ends with a model makes one.")
    return stored_model(service.core.store, champions.place(in_use), in_use.model, name)


@router.post("/{name}/rollback", responses=responses(NotFound, Conflict))
def rollback(name: str, service: ServiceDep) -> ScheduleView:
    """Put the champion before the present one back into use."""
    with service.core.database.transaction() as session:
        schedule = definitions.lock(session, name)
        champions.roll_back(session, service.core.store, schedule, service.core.database.time(session))
        return schedule_views.schedule_view(session, schedule)


@router.get(
    "/{name}/plots/champion",
    response_class=Response,
    responses=responses(NotFound, Invalid, Unavailable) | plot_page.CONTENT,
)
async def plot(
    name: str, service: ServiceDep, format: plot_page.Format = "html", standalone: Standalone = False
) -> Response:
    """Draw the champion's score over time: an HTML page, or plotly's JSON."""
    schedule_id, version = await run_in_threadpool(_runs_version, service, name)
    figure = await service.drawings.get(
        ("schedule", schedule_id, "champion"), version, lambda: (version, _draw_champion(service, name))
    )
    return await run_in_threadpool(plot_page.answer, figure, format, standalone, f"{name}-champion")


def _runs_version(service: Service, name: str) -> tuple[int, tuple[int, ...]]:
    """Return a schedule's id, and a number for each change of its finished runs."""
    with service.core.database.reading() as session:
        schedule = definitions.find(session, name)
        finished = (RunRow.schedule_id == schedule.id, RunRow.state == RunState.FINISHED)
        count, last = session.execute(select(func.count(), func.max(RunRow.id)).where(*finished)).one()
    return schedule.id, (count, last or 0)


def _draw_champion(service: Service, name: str) -> str:
    with service.core.database.reading() as session:
        schedule = definitions.find(session, name)
        finished = select(RunRow).where(RunRow.schedule_id == schedule.id, RunRow.state == RunState.FINISHED)
        last = session.scalars(finished.order_by(RunRow.due_at.desc()).limit(plots.RUNS)).all()
        views = schedule_views.run_views(session, schedule, last[::-1])
    return plots.draw_champion(name, schedule.spec.study.objective.metric, views)
