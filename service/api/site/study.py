"""The page of a study: its results, the curves of its trials, plots, its spec; and its buttons.

Two parts live: what it has reached (`/live`), and the table of its trials (`trial_table.py`). Plots are pages of their
own (`plots.py`), loaded only when they are opened.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import yaml
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import text
from sqlalchemy.orm import Session

from luthier.service.api import studies, views
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.site import buttons, curves, onnx, trial_table
from luthier.service.api.site.page import PageRoute, events_of, require_write, show
from luthier.service.api.site.progress import progress
from luthier.service.api.site.studies import is_maximized, metric_of
from luthier.service.api.successor_view import taken_over_view
from luthier.service.dispatch import waiting_trials
from luthier.service.errors import NotFound
from luthier.service.lifecycle import study_rows
from luthier.service.lifecycle.actions import Action, is_unmeasured
from luthier.service.schemas import StudyView
from luthier.service.storage.tables import AssignmentRow, StudyRow, WaitingRow
from luthier.studies.protocol import ENDED, StudyState, TrialState

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/studies/{name}")
numbered = APIRouter(
    include_in_schema=False, route_class=PageRoute, prefix="/studies/-"
)  # no name begins with a hyphen
PLOTS = (  # kind -> its words
    ("history", "History"),
    ("importance", "Importance of hyperparameters"),
    ("parallel", "Parallel coordinates"),
    ("slice", "Slices"),
    ("contour", "Contours"),
    ("timeline", "Timeline by trial"),
    ("intermediate", "Learning curves, to zoom into"),
)


def _action(action: Action) -> Callable[[str, Service], Any]:
    return lambda name, service: studies.act(name, action, service)


ACTS: dict[str, Callable[[str, Service], Any]] = {  # a button's action -> what it calls, as REST does
    **{action.value: _action(action) for action in Action},
    "delete": studies.delete,
}


@router.get("")
def one_study(name: str, request: Request, service: ServiceDep, query: trial_table.TableQuery) -> HTMLResponse:
    """Show a study. Raises NotFound."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        values = _live_values(session, service, study)
        values |= trial_table.values(session, study, query)
        if study.is_readable and study.inspection is not None and not study.external:
            values["view"].data = views.data_view(study.inspection)
        values["notified"] = _notified(service, study)
        values["view"].taken_over = taken_over_view(session, study)
        values["waiting"] = _waiting(session, study)
    spec = {key: value for key, value in values["view"].spec.items() if key != "semantics"}
    written = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    events = None if values["is_over"] else events_of(name)
    return show(request, "study.html", spec=written, plots=PLOTS, events=events, **values)


@router.get("/live")
def live(
    name: str, request: Request, service: ServiceDep, seen: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    """Show the part of a study's page that lives; with its buttons, where its state is not the one `seen`."""
    with service.core.database.reading() as session:
        values = _live_values(session, service, study_rows.find(session, name))
    page = show(request, "study_live.html", **(values | {"seen": seen}))
    if seen == StudyState.QUEUED != values["view"].state:
        page.headers["HX-Refresh"] = "true"  # what its inspection found belongs to parts that do not live
    return page


@router.get("/successor")
def successor(name: str) -> RedirectResponse:
    """Lead to the editor with a spec that goes on from the study's trials."""
    return RedirectResponse(f"/new?from={name}", 303)


@router.get("/dashboard")
def in_dashboard(name: str, service: ServiceDep) -> RedirectResponse:
    """Lead to a study's page in optuna-dashboard; to the list of all while it has none. Raises NotFound."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        number = None
        if study.inspection is not None:
            number = session.scalar(
                text("SELECT study_id FROM studies WHERE study_name = :name"), {"name": study.search_name}
            )
    return RedirectResponse("/dashboard" if number is None else f"/dashboard/studies/{number}", 303)


@numbered.get("/{number}")
def of_dashboard(number: Annotated[int, Path(ge=0, lt=2**31)], service: ServiceDep) -> RedirectResponse:
    """Lead from a study's number in optuna-dashboard to its page here; to the list of all where it has none."""
    with service.core.database.reading() as session:
        name = study_rows.name_in_optuna(session, number)
    return RedirectResponse("/" if name is None else f"/studies/{name}", 303)


@router.post("/{action}")
def act(name: str, action: str, request: Request, service: ServiceDep) -> Response:
    """Do what a button says, and lead back to the study. Raises NotFound, Conflict, Forbidden."""
    require_write(request)
    if action not in ACTS:
        raise NotFound(f"There is no button {action[:50]}.")
    ACTS[action](name, service)
    return RedirectResponse("/" if action == "delete" else f"/studies/{name}", 303)


def _live_values(session: Session, service: Service, study: StudyRow) -> dict[str, Any]:
    """Return what the part that lives shows."""
    view = views.study_views(session, [study], *service.core.standstill(session))[0]
    return {
        "view": view,
        "metric": metric_of(view),
        "maximize": is_maximized(view),
        "progress": progress(view, study.started_at, service.core.database.time(session)),
        "is_over": study.state in ENDED,
        "chart": chart_of(session, study, view),
        "shown_buttons": _buttons(session, study),
        "seen": study.state,
        **onnx.values(session, study),
    }


def _waiting(session: Session, study: StudyRow) -> list[tuple[int, WaitingRow]]:
    """Return the configurations that wait for a study's inspection, with the numbers of their trials."""
    if study.state != StudyState.QUEUED:
        return []
    rows = enumerate(waiting_trials.waiting(session, study.id), 1)
    return [(number, row) for number, row in rows if row.ended != waiting_trials.DELETED]


def _notified(service: Service, study: StudyRow) -> list[str]:
    """Return the ends of a study that the service's webhook is told of."""
    return list(study.spec.notify) if service.settings.webhook_url is not None and study.is_readable else []


def _buttons(session: Session, study: StudyRow) -> Iterable[buttons.Button]:
    unmeasured = is_unmeasured(session, study)
    ends = study.state not in ENDED and study.ending is not None  # its winner is being measured
    shown = [one for one in buttons.of_state(buttons.STUDY, study.state) if not (ends and one.asks)]
    return [*([buttons.UNMEASURED] if unmeasured else []), *shown]


def chart_of(session: Session, study: StudyRow, view: StudyView) -> curves.Chart | None:
    """Return the curves of a study's trials, the best on top; of many trials some."""
    counts = view.counts.model_dump()
    total = sum(counts.values())
    best = view.best.trial if view.best else -1
    rows = curves.chosen(session, study.id, total, (0, best))
    read = curves.read(session, rows, curves.POINTS)
    metric = metric_of(view)
    drawn = []
    for row in sorted(rows, key=lambda row: (row.number == best, row.state == TrialState.RUNNING, row.number == 0)):
        kind = "best" if row.number == best else "baseline" if row.number == 0 else row.state
        drawn.append((_label(row, kind), kind, curves.of_metric(read[row.id], metric)))
    note = (
        f"{len(rows)} of {total:,} trials: evenly spaced ones, the best, and those that run"
        if len(rows) < total
        else ""
    )
    return curves.chart(drawn, metric, note if total > curves.CURVES else "")


def _label(row: AssignmentRow, kind: str) -> str:
    score = "" if row.value is None else f": {row.value:.4f}"
    return f"trial {row.number}{score} ({kind if kind in ('best', 'baseline') else row.state})"
