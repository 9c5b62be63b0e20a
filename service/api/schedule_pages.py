"""HTML pages about schedules: the list of all, and one page for each."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from luthier.service.api.context import ServiceDep
from luthier.service.api.pages import render
from luthier.service.schedules import definitions
from luthier.service.schedules import views as schedule_views
from luthier.service.storage.tables import RunRow, ScheduleRow

router = APIRouter(include_in_schema=False)
RUNS = 30  # the latest runs, as many as a page shows


@router.get("/schedules")
def all_schedules(service: ServiceDep) -> HTMLResponse:
    """Show every schedule with its next due time, its last run and its champion's score."""
    with service.core.database.reading() as session:
        schedules = session.scalars(select(ScheduleRow).order_by(ScheduleRow.name)).all()
        return render("schedules.html", schedules=schedule_views.schedule_views(session, schedules))


@router.get("/schedules/{name}")
def one_schedule(name: str, service: ServiceDep) -> HTMLResponse:
    """Show one schedule: its facts, the plot of its score, its latest runs. Raises NotFound."""
    with service.core.database.reading() as session:
        schedule = definitions.find(session, name)
        last = select(RunRow).where(RunRow.schedule_id == schedule.id).order_by(RunRow.due_at.desc()).limit(RUNS)
        runs = schedule_views.run_views(session, schedule, session.scalars(last).all())
        return render("schedule.html", schedule=schedule_views.schedule_view(session, schedule), runs=runs)
