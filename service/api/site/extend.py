"""The form that gives a study a larger budget: new totals, filled in with what makes sense, beside what is used.

It calls REST's own function. Where a total is refused, the form comes again with what was typed.
"""

import math
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from luthier.service.api import extension, views
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.extension import Extension
from luthier.service.api.site.forms import fault_of, field_values, number_or_text
from luthier.service.api.site.page import PageRoute, require_write, show
from luthier.service.api.site.progress import progress
from luthier.service.errors import Conflict, NotFound, Problem, invalid
from luthier.service.lifecycle import patience, study_rows
from luthier.service.lifecycle.budget import TrialCounts
from luthier.service.schemas import StudyView
from luthier.studies.budget import Budget
from luthier.studies.protocol import ENDED, TrialState

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/studies/{name}/extend")
GROWTH = 1.5  # of a total that is used up, where nobody has typed another
LABELS = {
    "trials": "Trials",
    "wall_clock_seconds": "Seconds since the first trial",
    "gpu_seconds": "GPU seconds",
    "target": "Target of the objective",
    "failures": "Failed trials",
    "trial_seconds": "Seconds of a trial",
    "patience": "Trials in a row without a better score",
    "expected_gain": "Expected gain of going on",
}


@dataclass(frozen=True)
class Limit:
    """A limit of a budget, as the form shows it.

    Attributes:
        name: its key.
        label: its words.
        about: what it means.
        present: the present total; None for no limit.
        used: what is used so far; None where nothing is.
        proposed: the total that is filled in, as text.
    """

    name: str
    label: str
    about: str
    present: float | None
    used: float | None
    proposed: str


@router.get("")
def form(name: str, request: Request, service: ServiceDep) -> HTMLResponse:
    """Show the form, with new totals filled in. Raises NotFound, Forbidden, Conflict."""
    require_write(request)
    view, limits = _limits(service, name)
    return _page(request, view, limits, {limit.name: limit.proposed for limit in limits})


@router.post("")
async def extend(name: str, request: Request, service: ServiceDep) -> Response:
    """Extend the study and lead back to it; show the form again where it cannot be extended."""
    require_write(request)
    typed = await field_values(request, LABELS)
    return await run_in_threadpool(_extend, name, request, service, typed)


def _extend(name: str, request: Request, service: Service, typed: dict[str, str]) -> Response:
    view, limits = _limits(service, name)
    given = {limit.name: number_or_text(typed[limit.name]) for limit in limits if _is_given(limit, typed[limit.name])}
    try:
        extension.extend(name, _extension(given), service)
    except NotFound:
        raise
    except Problem as problem:
        return _page(request, view, limits, typed, problem)
    return RedirectResponse(f"/studies/{name}", 303)


def _is_given(limit: Limit, text: str) -> bool:
    """Return whether a field says something: an empty one removes a limit that is there, and is nothing else."""
    return bool(text) or limit.present is not None


def _extension(totals: dict[str, Any]) -> Extension:
    try:
        return Extension.model_validate({"budget": totals})
    except ValidationError as error:
        raise invalid(error) from None


def _page(
    request: Request, view: StudyView, limits: list[Limit], typed: dict[str, str], problem: Problem | None = None
) -> HTMLResponse:
    faults = fault_of(problem, "budget.")
    values = {"view": view, "limits": limits, "typed": typed, "problem": problem, "faults": faults}
    return show(request, "extend.html", problem.status if problem else 200, **values)


def _limits(service: Service, name: str) -> tuple[StudyView, list[Limit]]:
    """Return a study, and the limits of its budget. Raises NotFound, Conflict."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        if not study.is_readable:
            raise Conflict(f"{name} was written by another version of Luthier: extend it with that one.")
        view = views.study_views(session, [study])[0]
        counts = TrialCounts.of(session, study.id)
        spent = progress(view, study.started_at, service.core.database.time(session))
        ended = study.state in ENDED
        used: dict[str, float | None] = {
            "trials": counts.spent,
            "wall_clock_seconds": spent.seconds,
            "gpu_seconds": counts.gpu_seconds,
            "failures": counts[TrialState.FAILED],
            "target": None if view.best is None else view.best.value,
        }
        budget = study.spec.budget
        row = patience.row_of(session, study)
        used["patience"] = None if row is None else row.length
    limits = []
    for key, label in LABELS.items():
        present = getattr(budget, key)
        about = Budget.model_fields[key].description or ""
        proposed = _proposed(key, present, used.get(key), ended)
        limits.append(Limit(key, label, about, present, used.get(key), proposed))
    return view, limits


def _proposed(key: str, present: float | None, used: float | None, ended: bool) -> str:
    """Return the new total that is filled in: half as much again where the present one is used up, else the same."""
    if present is None:
        return ""
    if key in ("target", "expected_gain"):
        return "" if ended else f"{present:g}"  # it may be what has ended the study
    grows = (used or 0) >= present or (key == "trials" and not ended)
    return str(math.ceil(present * GROWTH)) if grows else f"{present:.10g}"
