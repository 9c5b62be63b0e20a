"""The page `/`: all studies, with state, progress, the best so far against the baseline, time and GPU seconds.

A page of it costs the same number of queries, whatever there is; so does a search by name.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from luthier.service.api import views
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.site.page import PageRoute, events_of, is_part, show
from luthier.service.api.site.progress import Progress, progress
from luthier.service.lifecycle import labels, study_rows
from luthier.service.schemas import StudyView
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import StudyState

router = APIRouter(include_in_schema=False, route_class=PageRoute)
ROWS = 30  # of a page
ORDERS = {"created": StudyRow.id, "name": StudyRow.name, "state": StudyRow.state, "ended": StudyRow.finished_at}
Order = Literal["created", "-created", "name", "-name", "state", "-state", "ended", "-ended"]
Page = Annotated[int, Query(ge=1, le=1_000_000)]
Search = Annotated[str, Query(max_length=100)]


@dataclass(frozen=True)
class Line:
    """A study in the list."""

    view: StudyView
    progress: Progress
    maximize: bool
    metric: str


@router.get("/")
def all_studies(
    request: Request,
    service: ServiceDep,
    q: Search = "",
    state: StudyState | Literal[""] = "",
    sort: Order = "-created",
    page: Page = 1,
    tag: Annotated[str, Query(max_length=60)] = "",
) -> HTMLResponse:
    """Show the studies, or, to htmx, the part of the page that lives."""
    query: dict[str, Any] = {
        "q": q,
        "state": state,
        "tag": tag,
        "sort": None if sort == "-created" else sort,
        "page": page,
    }
    query["page"] = None if page == 1 else page
    with service.core.database.reading() as session:
        matching = _matching(q, state, tag)
        total = session.scalar(select(func.count()).select_from(matching.subquery())) or 0
        rows = session.scalars(_ordered(matching, sort).offset((page - 1) * ROWS).limit(ROWS)).all()
        lines = _lines(session, service, rows)
        counts = _by_state(session)
    values: dict[str, Any] = {
        "lines": lines,
        "query": query,
        "total": total,
        "page": page,
        "last": -(-total // ROWS),
        "counts": counts,
        "states": list(StudyState),
        "events": events_of(),
    }
    return show(request, "studies_table.html" if is_part(request) else "studies.html", **values)


def _matching(q: str, state: str, tag: str) -> Select[StudyRow]:
    rows = select(StudyRow).where(study_rows.is_shown())
    for word in q.replace("\0", " ").split():
        rows = rows.where(
            or_(StudyRow.name.contains(word.lower(), autoescape=True), StudyRow.tags.icontains(word, autoescape=True))
        )
    if tag:
        rows = rows.where(labels.has_tag(tag.replace("\0", " ")))
    return rows.where(StudyRow.state == state) if state else rows


def _ordered(rows: Select[StudyRow], sort: Order) -> Select[StudyRow]:
    column = ORDERS[sort.removeprefix("-")]
    return rows.order_by(column.desc() if sort.startswith("-") else column, StudyRow.id.desc())


def _by_state(session: Session) -> dict[str, int]:
    rows = session.execute(select(StudyRow.state, func.count()).where(study_rows.is_shown()).group_by(StudyRow.state))
    return {str(state): int(count) for state, count in rows}


def _lines(session: Session, service: Service, rows: Any) -> list[Line]:
    now = service.core.database.time(session)
    shown = views.study_views(session, rows, *service.core.standstill(session))
    return [
        Line(view, progress(view, row.started_at, now), is_maximized(view), metric_of(view))
        for row, view in zip(rows, shown, strict=True)
    ]


def metric_of(view: StudyView) -> str:
    """Return the metric of a study's objective; of a damaged spec, a word for it."""
    return str((view.spec.get("objective") or {}).get("metric") or "score")


def is_maximized(view: StudyView) -> bool:
    """Return whether more is better."""
    return bool((view.spec.get("objective") or {}).get("direction", "maximize") == "maximize")
