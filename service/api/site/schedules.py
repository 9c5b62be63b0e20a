"""The pages of schedules: the list of all, and one for each, with its runs, its buttons, and its score over time."""

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.api import schedules
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.site import buttons
from luthier.service.api.site.page import PageRoute, is_part, require_write, show
from luthier.service.api.site.studies import Page
from luthier.service.errors import NotFound
from luthier.service.schedules import definitions
from luthier.service.schedules import views as schedule_views
from luthier.service.schemas import RunView, ScheduleView
from luthier.service.storage.schedule_tables import ChampionRow, RunRow, ScheduleRow
from luthier.service.storage.tables import StudyRow

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/schedules")
ROWS = 50  # schedules of a page
RUNS = 30  # the latest runs, as many as a page shows
ACTS: dict[str, Callable[[str, Service], Any]] = {  # a button's action -> what it calls, as REST does
    "trigger": schedules.trigger,
    "pause": lambda name, service: schedules.change(name, {"paused": True}, service, Response()),
    "resume": lambda name, service: schedules.change(name, {"paused": False}, service, Response()),
    "rollback": schedules.rollback,
    "delete": schedules.delete,
}


@router.get("")
def all_schedules(request: Request, service: ServiceDep, page: Page = 1) -> HTMLResponse:
    """Show the schedules by name, each with its next due time, its last run and its champion's score."""
    with service.core.database.reading() as session:
        here = select(ScheduleRow).where(ScheduleRow.is_here())
        by_name = here.order_by(ScheduleRow.name).offset((page - 1) * ROWS).limit(ROWS + 1)
        rows = session.scalars(by_name).all()
        shown = schedule_views.schedule_views(session, rows[:ROWS])
    return show(request, "schedules.html", schedules=shown, page=page, more=len(rows) > ROWS)


@router.get("/{name}")
def one_schedule(name: str, request: Request, service: ServiceDep) -> HTMLResponse:
    """Show one schedule: its facts, the plot of its score, its latest runs. Raises NotFound."""
    with service.core.database.reading() as session:
        schedule = definitions.find(session, name)
        last = select(RunRow).where(RunRow.schedule_id == schedule.id).order_by(RunRow.due_at.desc()).limit(RUNS)
        runs = schedule_views.run_views(session, schedule, session.scalars(last).all())
        view = schedule_views.schedule_view(session, schedule)
        values: dict[str, Any] = {
            "schedule": view,
            "runs": runs,
            "there": _studies(session, view, runs),
            "shown_buttons": _buttons(session, schedule, view),
        }
    return show(request, "schedule_live.html" if is_part(request) else "schedule.html", **values)


@router.post("/{name}/{action}")
def act(name: str, action: str, request: Request, service: ServiceDep) -> Response:
    """Do what a button says, and lead back to the schedule, or to the list of all once it is gone.

    Raises NotFound, Conflict, Forbidden.
    """
    require_write(request)
    if action not in ACTS:
        raise NotFound(f"There is no button {action[:50]}.")
    ACTS[action](name, service)
    return RedirectResponse("/schedules" if action == "delete" else f"/schedules/{name}", 303)


def _studies(session: Session, schedule: ScheduleView, runs: Iterable[RunView]) -> set[str]:
    """Return which of the studies that a page names are still there."""
    names = {run.study for run in runs} | ({schedule.champion.study} if schedule.champion else set())
    return set(session.scalars(select(StudyRow.name).where(StudyRow.name.in_(names - {None}), StudyRow.is_here())))


def _buttons(session: Session, schedule: ScheduleRow, view: ScheduleView) -> list[buttons.Button]:
    champion = session.get(ChampionRow, schedule.champion_id) if schedule.champion_id else None
    can_roll_back = champion is not None and champion.previous_id is not None
    every = [*buttons.SCHEDULE[:-1], *([buttons.ROLLBACK] if can_roll_back else []), buttons.SCHEDULE[-1]]
    return buttons.of_state(every, view.state)
