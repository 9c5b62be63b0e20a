"""Routes of plots: those of a study (/v1/studies/{name}/plots), of optuna-dashboard, and their scripts (/assets).

A plot is kept until a trial ends. Those that running trials change too are drawn anew after LIVE_SECONDS.
"""

import json
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse
from sqlalchemy import func, select
from starlette.concurrency import run_in_threadpool

from luthier.service.api import plot_page, static_files
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.drawings import Figure, Version
from luthier.service.errors import Conflict, Invalid, NotFound, Unavailable, responses
from luthier.service.lifecycle import study_rows
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import FINISHED, AssignmentKind
from luthier.studies.search.search import Search

router = APIRouter(tags=["trials"])
PlotKind = Literal["history", "importance", "parallel", "slice", "contour", "intermediate", "timeline"]
LIVE = ("intermediate", "timeline")  # which show running trials
LIVE_SECONDS = 10.0
OF_DASHBOARD = {"parallel_coordinate": "parallel"} | {  # its name -> ours
    kind: kind for kind in ("slice", "contour", "timeline", "rank", "edf")
}
Standalone = Annotated[bool, Query(description="A page as a file to keep: it holds plotly's script, of 4.8 MB.")]


@router.get(
    "/v1/studies/{name}/plots/{kind}",
    response_class=Response,
    responses=responses(NotFound, Conflict, Invalid, Unavailable) | plot_page.CONTENT_WITH_PNG,
)
async def plot(
    name: str,
    kind: PlotKind,
    service: ServiceDep,
    format: plot_page.FigureFormat = "html",
    standalone: Standalone = False,
) -> Response:
    """Draw a figure of the study's search: a page, plotly's JSON or a PNG; of many trials some, and it says so."""
    if format == "png":
        return plot_page.picture(await _picture(service, name, kind), f"{name}-{kind}")
    figure = await figure_of(service, lambda: name, kind)
    return await run_in_threadpool(plot_page.answer, figure, format, standalone, f"{name}-{kind}")


@router.get("/api/studies/{optuna_id}/plot/{kind}", include_in_schema=False)
async def plot_of_dashboard(
    optuna_id: Annotated[int, Path(ge=0, lt=2**31)], kind: str, service: ServiceDep
) -> Response:
    """Draw a plot for optuna-dashboard in place of its own route, which draws every trial whatever it takes."""
    ours = OF_DASHBOARD.get(kind)
    if ours is None:
        raise NotFound(f"There is no plot {kind}.")
    figure = await figure_of(service, lambda: _name_of(service, optuna_id), ours)
    if kind == "slice":  # the dashboard has a place for it
        drawn = json.loads(figure)
        drawn["layout"].pop("width", None)
        figure = json.dumps(drawn)
    return Response(figure, media_type="application/json")


@router.get("/assets/{name}", include_in_schema=False)
def script(name: str) -> FileResponse:
    """Send a script that pages load: plotly's, or one of ours."""
    return plot_page.script(name) if name in plot_page.SCRIPTS else static_files.send(name)


async def figure_of(service: Service, find: Callable[[], str], kind: str) -> str:
    """Return a plot of a study as plotly's JSON; arguments and errors as those of `_drawn`."""
    return await _drawn(service, find, kind, kind, lambda search: search.plot(kind))


async def _picture(service: Service, name: str, kind: str) -> bytes:
    """Return a plot of a study as PNG; errors as those of `_drawn`."""
    return await _drawn(service, lambda: name, kind, f"{kind}.png", lambda search: search.picture(kind))


async def _drawn(
    service: Service,
    find: Callable[[], str],
    kind: str,
    kept_as: str,
    draw: Callable[[Search], tuple[Figure, int, int]],
) -> Figure:
    """Return a plot of a study, kept or drawn now.

    Args:
        service: the service.
        find: returns the study's name, in a thread.
        kind: the plot.
        kept_as: its key among the study's plots.
        draw: draws it; returns it with the study's trials then, and how many of them had ended.

    Raises:
        NotFound: there is no such study.
        Conflict: there is not enough to draw yet.
        Unavailable: others were drawn all the while.
    """
    study, trials, ended = await run_in_threadpool(_look, service, find)

    def version(trials: int, ended: int) -> Version:
        return (ended, trials) if kind in LIVE else (ended,)

    def drawn_now() -> tuple[Version, Figure]:
        try:
            # Optuna's trials may lag behind our rows for a moment: what was drawn is what they had.
            figure, drawn, drawn_ended = draw(service.core.searches.get(study))
        except ValueError as error:
            raise Conflict(str(error)) from None
        return version(drawn, drawn_ended), figure

    max_age = LIVE_SECONDS if kind in LIVE and trials > ended else None
    return await service.drawings.get(("study", study.id, kept_as), version(trials, ended), drawn_now, max_age)


def _look(service: Service, find: Callable[[], str]) -> tuple[StudyRow, int, int]:
    """Return a study, how many trials it has, and how many of them have ended."""
    name = find()
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        ended = func.count().filter(AssignmentRow.state.in_(FINISHED))
        of_study = (
            AssignmentRow.study_id == study.id,
            AssignmentRow.kind == AssignmentKind.TRAIN,
            ~AssignmentRow.deleted,
        )
        counts = session.execute(select(func.count(), ended).where(*of_study)).one()
    if study.inspection is None:
        raise Conflict(f"{name} has not started yet: there is nothing to draw.")
    return study, counts[0], counts[1]


def _name_of(service: Service, optuna_id: int) -> str:
    """Return the name of a study of the caller's project by its id in Optuna's tables. Raises NotFound."""
    with service.core.database.reading() as session:
        name = study_rows.name_in_optuna(session, optuna_id)
    if name is None:
        raise NotFound(f"There is no study {optuna_id}.")
    return name
