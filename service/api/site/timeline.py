"""The timeline of a study by worker: who worked on which trial, and when; a part of its page, asked for when opened."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import func, select

from luthier.service.api.context import ServiceDep
from luthier.service.api.site.page import PageRoute, is_part, show
from luthier.service.lifecycle import study_rows
from luthier.service.storage.tables import AssignmentRow
from luthier.service.times import instant
from luthier.studies.protocol import AssignmentKind

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/studies/{name}")
BARS = 400  # the latest trials
ROWS = 40  # workers


@dataclass(frozen=True)
class Bar:
    """A trial on a worker's line, from `left` on, `width` wide, of 100."""

    label: str
    state: str
    left: float
    width: float


@router.get("/timeline")
def timeline(name: str, request: Request, service: ServiceDep) -> HTMLResponse:
    """Show when each worker had which trial, the latest attempt of each. Raises NotFound."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        of_study = (
            AssignmentRow.study_id == study.id,
            AssignmentRow.kind == AssignmentKind.TRAIN,
            ~AssignmentRow.deleted,
        )
        begun = select(AssignmentRow).where(*of_study, AssignmentRow.started_at.is_not(None))
        rows = session.scalars(begun.order_by(AssignmentRow.number.desc()).limit(BARS)).all()[::-1]
        total = session.scalar(select(func.count()).select_from(begun.subquery())) or 0
        now = service.core.database.time(session)
    spans = [(row, _start(row, now), row.finished_at or now) for row in rows]
    first = min((start for _, start, _ in spans), default=0.0)
    last = max((end for _, _, end in spans), default=1.0)
    scale = 100 / max(last - first, 1e-9)
    lines: dict[str, list[Bar]] = {}
    for row, start, end in spans:
        bar = Bar(
            f"trial {row.number}, {row.state}", row.state, scale * (start - first), max(scale * (end - start), 0.15)
        )
        lines.setdefault(row.worker or "nobody now", []).append(bar)
    shown = dict(sorted(lines.items())[:ROWS])
    note = f"the latest {len(rows)} of {total:,} trials" if len(rows) < total else ""
    values: dict[str, Any] = {"lines": shown, "note": note, "more": len(lines) - len(shown)}
    template = "timeline_part.html" if is_part(request) else "timeline.html"
    return show(request, template, first=instant(first), last=instant(last), **values)


def _start(row: AssignmentRow, now: float) -> float:
    """Return when the latest attempt began: of one that has ended, by the time that it took."""
    begun = row.started_at or now
    return begun if row.attempt <= 1 or row.finished_at is None else max(begun, row.finished_at - row.seconds)
