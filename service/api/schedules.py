"""/v1/schedules: made, listed, changed, triggered, removed; their runs; the champion and the one before it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Query, Response
from fastapi.responses import FileResponse
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from luthier.service.api import paging
from luthier.service.api.body import SCHEDULE_BODY, ScheduleBody
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.studies import installed
from luthier.service.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable, invalid, responses
from luthier.service.schedules import champions, plots
from luthier.service.schedules import definitions as rows
from luthier.service.schedules import due_times as ticks
from luthier.service.schedules import views as shown
from luthier.service.schemas import Page, RunView, ScheduleView
from luthier.service.storage.tables import RunRow, ScheduleRow
from luthier.studies.schedule import RunState, ScheduleSpec
from luthier.studies.wire import FileRef

router = APIRouter(prefix="/v1/schedules", tags=["schedules"])


@router.post(
    "",
    status_code=201,
    openapi_extra=SCHEDULE_BODY,
    responses=responses(Conflict, TooLarge, Invalid, Unavailable) | {200: {"model": ScheduleView}},
)
def create(spec: ScheduleBody, service: ServiceDep, response: Response) -> ScheduleView:
    """A new schedule (201); the same again is the same schedule (200). Its times count from now on."""
    installed(spec.study, "study")
    try:
        made, view = _find_or_create(service, spec)
    except IntegrityError:  # another request made it between the look and the insert
        made, view = _find_or_create(service, spec)
    response.status_code = 201 if made else 200
    response.headers["Location"] = f"/v1/schedules/{spec.name}"
    return view


def _find_or_create(service: Service, spec: ScheduleSpec) -> tuple[bool, ScheduleView]:
    with service.core.database.transaction() as session:
        made, schedule = rows.find_or_create(session, service.core.database, spec)
        return made, shown.schedule_view(session, schedule)


@router.get("", responses=responses(Invalid))
def listing(service: ServiceDep, cursor: paging.Cursor = None, limit: paging.Limit = 50) -> Page[ScheduleView]:
    """Schedules, newest first."""
    before = paging.decode(cursor)
    statement = select(ScheduleRow).order_by(ScheduleRow.id.desc()).limit(limit + 1)
    if before is not None:
        statement = statement.where(ScheduleRow.id < before)
    with service.core.database.reading() as session:
        page, following = paging.cut(session.scalars(statement).all(), limit, lambda row: row.id)
        return Page(items=[shown.schedule_view(session, row) for row in page], next_cursor=following)


@router.get("/{name}", responses=responses(NotFound))
def get(name: str, service: ServiceDep) -> ScheduleView:
    with service.core.database.reading() as session:
        return shown.schedule_view(session, rows.find(session, name))


@router.patch("/{name}", responses=responses(NotFound, Invalid))
def change(name: str, changes: Annotated[dict[str, Any], Body()], service: ServiceDep) -> ScheduleView:
    """Replace some keys, each as a whole; null puts one back to its default. `{"paused": true}` pauses."""
    service.scheduler.ended(ticks.fire(service.core))  # pending due times fire under the old cron
    try:
        with service.core.database.transaction() as session:
            schedule = rows.locked(session, name)
            rows.change(session, service.core.database, schedule, changes)
            installed(schedule.spec.study, "study")
            return shown.schedule_view(session, schedule)
    except ValidationError as error:
        raise invalid(error) from None


@router.delete("/{name}", status_code=204, responses=responses(NotFound, Conflict))
def delete(name: str, service: ServiceDep) -> None:
    """Remove a schedule, its runs and its champions. The studies of its runs stay, as studies."""
    with service.core.database.transaction() as session:
        schedule = rows.locked(session, name)
        rows.remove(session, schedule)
    service.core.store.remove_schedule(schedule.id)


@router.post("/{name}/trigger", status_code=201, responses=responses(NotFound, Conflict))
def trigger(name: str, service: ServiceDep) -> RunView:
    """A run now, also of unchanged data and while the schedule is paused."""
    with service.core.database.transaction() as session:
        schedule = rows.locked(session, name)
        run, ended = ticks.trigger(service.core, session, schedule, service.core.database.time(session))
        view = shown.run_views(session, schedule, [run])[0]
    service.scheduler.ended(ended)
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
    """Every due time and what came of it, newest first."""
    before = paging.decode(cursor)
    with service.core.database.reading() as session:
        schedule = rows.find(session, name)
        statement = select(RunRow).where(RunRow.schedule_id == schedule.id).order_by(RunRow.id.desc()).limit(limit + 1)
        if state is not None:
            statement = statement.where(RunRow.state == state)
        if before is not None:
            statement = statement.where(RunRow.id < before)
        page, following = paging.cut(session.scalars(statement).all(), limit, lambda row: row.id)
        return Page(items=shown.run_views(session, schedule, page), next_cursor=following)


@router.get("/{name}/runs/{run_id}", responses=responses(NotFound, Invalid))
def run(name: str, run_id: Annotated[int, Path(ge=1, lt=2**63)], service: ServiceDep) -> RunView:
    """A run, with the decision in full."""
    with service.core.database.reading() as session:
        schedule = rows.find(session, name)
        found = session.get(RunRow, run_id)
        if found is None or found.schedule_id != schedule.id:
            raise NotFound(f"{name} has no run {run_id}.")
        return shown.run_views(session, schedule, [found])[0]


@router.get("/{name}/champion", response_class=FileResponse, responses=responses(NotFound))
def champion(name: str, service: ServiceDep) -> FileResponse:
    """The model in use: a .tar.gz of a `save_pretrained` directory and `luthier.json`."""
    with service.core.database.reading() as session:
        found = champions.current(session, rows.find(session, name))
    if found is None:
        raise NotFound(f"{name} has no champion yet: its first run that ends with a model makes one.")
    path = champions.file(service.core.store, found)
    if not path.is_file():
        raise NotFound(f"The champion's file {path.name} is not in the service's store any more.")
    headers = {"X-Content-SHA256": FileRef.model_validate(found.model).sha256}
    return FileResponse(path, media_type="application/gzip", filename=f"{name}.tar.gz", headers=headers)


@router.post("/{name}/rollback", responses=responses(NotFound, Conflict))
def rollback(name: str, service: ServiceDep) -> ScheduleView:
    """Put the champion before the present one back into use."""
    with service.core.database.transaction() as session:
        schedule = rows.locked(session, name)
        champions.roll_back(session, service.core.store, schedule, service.core.database.time(session))
        return shown.schedule_view(session, schedule)


@router.get("/{name}/plots/champion", responses=responses(NotFound, Invalid))
def plot(name: str, service: ServiceDep, format: Annotated[Literal["html", "json"], Query()] = "html") -> Response:
    """The champion's score over time: a page of its own, or plotly's JSON."""
    with service.core.database.reading() as session:
        schedule = rows.find(session, name)
        finished = select(RunRow).where(RunRow.schedule_id == schedule.id, RunRow.state == RunState.FINISHED)
        last = session.scalars(finished.order_by(RunRow.due_at.desc()).limit(plots.RUNS)).all()
        views = shown.run_views(session, schedule, last[::-1])
    figure = plots.draw_champion(name, schedule.spec.study.objective.metric, views)
    if format == "json":
        return Response(figure.to_json(), media_type="application/json")
    return Response(figure.to_html(include_plotlyjs=True, full_html=True), media_type="text/html")
