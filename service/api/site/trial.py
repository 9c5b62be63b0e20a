"""The page of a trial: its configuration, curves of every metric, memory, time, its log, and why it failed.

What it has reached and its log live while it runs. Only the end of a log is shown; all of it is a file of REST.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.api import trial_verbs as verbs
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.site import buttons, curves, waiting_trial
from luthier.service.api.site.page import PageRoute, events_of, require_write, show
from luthier.service.api.trial_views import trials_without_values
from luthier.service.dispatch import trial_verbs
from luthier.service.errors import NotFound
from luthier.service.lifecycle import study_rows
from luthier.service.schemas import TrialView
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.protocol import ENDED, FINISHED, AssignmentKind, Reason, StudyState

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/studies/{name}/trials/{number}")
Number = Annotated[int, Path(ge=0, lt=2**31)]
LOG_CHARACTERS = 30_000  # of the end of a log
POINTS = 200  # of a curve
CHARTS = 8  # metrics that are drawn, the objective's first
ACTS: dict[str, Callable[[str, int, Service], Any]] = {  # a button's action -> what it calls, as REST does
    "stop": verbs.stop,
    "retry": lambda name, number, service: verbs.retry(name, number, service, Response()),
    "delete": verbs.delete,
}
CURES = {  # why a trial ended -> what to do
    Reason.OOM: "Lower the greatest batch_size or max_length of the space, or set gradient_checkpointing: true.",
    Reason.DIVERGED: "Lower the greatest learning_rate of the space. The search has learned to keep away from here.",
    Reason.LOST_WORKER: "Look at its workers: they vanished more often than LUTHIER_MAX_LOSSES allows. "
    "Enqueue the configuration again once they stay.",
    Reason.TIMEOUT: "Raise budget.trial_seconds, or lower the greatest number of epochs.",
    Reason.BAD_DATA: "Mend the data or the model that the sentence names, then enqueue the configuration again.",
    Reason.ERROR: "The end of the log says what happened; enqueue the configuration again once it is mended.",
}


@router.get("")
def one_trial(name: str, number: Number, request: Request, service: ServiceDep) -> HTMLResponse:
    """Show a trial. Raises NotFound."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        waiting = waiting_trial.values(session, study, number)
        if waiting is not None:
            events = None if waiting["is_over"] else events_of(name)
            return show(request, "trial.html", log="", events=events, **waiting)
        row = trial_verbs.find(session, study, number)
        values = _values(session, study, row)
    log = service.core.store.read_log_end(row.study_id, row.id, LOG_CHARACTERS)
    return show(request, "trial.html", log=log, events=None if values["is_over"] else events_of(name, number), **values)


@router.get("/live")
def live(
    name: str, number: Number, request: Request, service: ServiceDep, seen: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    """Show the part of a trial's page that lives; with its buttons, where its state is not the one `seen`."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        waiting = waiting_trial.values(session, study, number)
        values = waiting or _values(session, study, trial_verbs.find(session, study, number))
    page = show(request, "trial_live.html", **(values | {"seen": seen}))
    if waiting is None and seen == waiting_trial.SEEN:
        page.headers["HX-Refresh"] = "true"  # its page lives on events of its study so far, and has no log
    return page


@router.get("/log")
def log(name: str, number: Number, request: Request, service: ServiceDep) -> HTMLResponse:
    """Show the end of a trial's log. Raises NotFound."""
    with service.core.database.reading() as session:
        row = trial_verbs.find(session, study_rows.find(session, name), number)
        trial = trials_without_values(session, [row])[0]
    end = service.core.store.read_log_end(row.study_id, row.id, LOG_CHARACTERS)
    return show(request, "trial_log.html", name=name, trial=trial, log=end, is_over=trial.state in FINISHED)


@router.get("/again")
def again(name: str, number: Number) -> RedirectResponse:
    """Lead to the form of a configuration, filled in with the trial's."""
    return RedirectResponse(f"/studies/{name}/enqueue?like={number}", 303)


@router.post("/{action}")
def act(name: str, number: Number, action: str, request: Request, service: ServiceDep) -> Response:
    """Do what a button says, and lead back: to the trial, or to its study once the trial is gone. Raises NotFound."""
    require_write(request)
    if action not in ACTS:
        raise NotFound(f"There is no button {action[:50]}.")
    after = ACTS[action](name, number, service)
    study = f"/studies/{name}"
    shown = after.number if isinstance(after, TrialView) else number  # of a retry the new trial
    return RedirectResponse(study if action == "delete" else f"{study}/trials/{shown}", 303)


def _buttons(study: StudyRow, trial: TrialView) -> list[buttons.Button]:
    """Return the buttons that make sense: no trial starts in a study that has ended, and its winner is kept."""
    shown = buttons.of_state(buttons.TRIAL, trial.state)
    senseless = {
        "stop": trial.stopping,
        "retry": study.state in ENDED,
        "again": study.state not in (StudyState.RUNNING, StudyState.PAUSED) or not study.is_readable,
        "delete": trial.number == study.winner or (trial.number == 0 and trial.value is not None),
    }
    return [button for button in shown if not senseless[button.action]]


def _beside(session: Session, row: AssignmentRow) -> dict[str, int | None]:
    """Return the numbers of the trials before and after one that are there."""
    there = (
        AssignmentRow.study_id == row.study_id,
        AssignmentRow.kind == AssignmentKind.TRAIN,
        ~AssignmentRow.deleted,
    )
    before = select(func.max(AssignmentRow.number)).where(*there, AssignmentRow.number < row.number)
    after = select(func.min(AssignmentRow.number)).where(*there, AssignmentRow.number > row.number)
    return {"before": session.scalar(before), "after": session.scalar(after)}


def _values(session: Session, study: StudyRow, row: AssignmentRow) -> dict[str, Any]:
    """Return what the part that lives shows."""
    trial = trials_without_values(session, [row])[0]
    read = curves.read(session, [row], POINTS)[row.id]
    objective = study.spec.objective.metric if study.is_readable else ""
    metrics = list(dict.fromkeys([objective, *(metric for _, scores in read for metric in scores)]))
    charts = [curves.chart([(metric, "best", curves.of_metric(read, metric))], metric) for metric in metrics[:CHARTS]]
    return {
        "name": study.name,
        "trial": trial,
        "metric": objective,
        "charts": [chart for chart in charts if chart is not None],
        "latest": read[-1][1] if read else {},
        "steps": row.step,
        "cure": CURES.get(trial.reason) if trial.reason else None,
        "abouts": {key: known.about for key, known in HYPERPARAMETERS.items()},
        "is_over": trial.state in FINISHED,
        "numbers": _beside(session, row),
        "shown_buttons": _buttons(study, trial),
        "seen": trial.state.value,
        "shown_state": trial.state.value,
        "waits": None,
    }
