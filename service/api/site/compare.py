"""The page that compares studies, or trials: what differs, who won, and the curves together.

Studies are compared by their best trials; the two kinds can stand in one comparison.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.api import views
from luthier.service.api.context import ServiceDep
from luthier.service.api.site import curves
from luthier.service.api.site.page import PageRoute, show
from luthier.service.api.site.studies import is_maximized, metric_of
from luthier.service.api.trial_views import trials_without_values
from luthier.service.dispatch import trial_verbs
from luthier.service.errors import Invalid
from luthier.service.lifecycle import study_rows
from luthier.service.schemas import StudyView, TrialView
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.comparison import param_rows, spec_rows
from luthier.studies.protocol import AssignmentKind

router = APIRouter(include_in_schema=False, route_class=PageRoute)
MOST = 8  # that are compared: there are so many colours
Names = Annotated[list[str] | None, Query(max_length=80)]


@dataclass(frozen=True)
class Side:
    """One of those that are compared: a study by its best trial, or a trial."""

    label: str
    path: str
    study: StudyView
    trial: TrialView | None
    points: curves.Points


@router.get("/compare")
def compare(
    request: Request,
    service: ServiceDep,
    study: Names = None,
    trial: Names = None,
    all: bool = False,
) -> HTMLResponse:
    """Show studies and trials side by side. Raises NotFound, Invalid."""
    wanted = list(dict.fromkeys([*(study or ()), *(trial or ())]))
    if len(wanted) > MOST:
        raise Invalid(f"study, trial: {len(wanted)} do not fit side by side; tick {MOST} at most.")
    with service.core.database.reading() as session:
        sides = [_side(session, name) for name in wanted]
    metrics = list(dict.fromkeys(metric_of(side.study) for side in sides))
    drawn = []
    for metric in metrics:
        lines = [(s.label, f"hue{n}", s.points) for n, s in enumerate(sides) if metric_of(s.study) == metric]
        drawn.append(curves.chart(lines, metric))
    params = [side.trial.params if side.trial is not None else {} for side in sides]
    values: dict[str, Any] = {
        "sides": sides,
        "specs": [row for row in spec_rows(side.study.spec for side in sides) if all or row.differs],
        "params": [row for row in param_rows(params) if all or row.differs],
        "charts": [chart for chart in drawn if chart is not None],
        "maximize": {metric_of(side.study): is_maximized(side.study) for side in sides},
        "metrics": metrics,
        "tests": list(dict.fromkeys(name for s in sides if s.study.best for name in s.study.best.test or {})),
        "query": {"study": study, "trial": trial},
        "all": all,
    }
    return show(request, "compare.html", **values)


def _side(session: Session, name: str) -> Side:
    """Return one side, from `STUDY` or `STUDY/NUMBER`. Raises NotFound, Invalid."""
    study_name, slash, number = name.partition("/")
    if slash and not (number.isdecimal() and len(number) < 10):
        raise Invalid(f"trial: {name[:80]} must be a study's name, a slash and a number, as my-study/3.")
    study = study_rows.find(session, study_name)
    view = views.study_views(session, [study])[0]
    row = trial_verbs.find(session, study, int(number)) if slash else _best(session, study.id, view)
    points: curves.Points = []
    shown = None
    if row is not None:
        shown = trials_without_values(session, [row])[0]
        points = curves.of_metric(curves.read(session, [row], curves.POINTS)[row.id], metric_of(view))
    path = f"/studies/{study_name}" + (f"/trials/{number}" if slash else "")
    label = f"{study_name}, trial {shown.number}" if shown is not None else study_name
    return Side(label, path, view, shown, points)


def _best(session: Session, study_id: int, view: StudyView) -> AssignmentRow | None:
    if view.best is None:
        return None
    of_study = (AssignmentRow.study_id == study_id, AssignmentRow.kind == AssignmentKind.TRAIN)
    return session.scalar(select(AssignmentRow).where(*of_study, AssignmentRow.number == view.best.trial))
