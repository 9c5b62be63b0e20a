"""The page of a new study: an editor of its spec, with faults beside their lines; a plan of it; its start.

The editor begins with a commented spec of a task, or with the spec of another study (`new_successor.py`). What it posts
is read exactly as REST reads a spec.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from luthier.service.api import plan, studies
from luthier.service.api.context import ServiceDep
from luthier.service.api.pages import render
from luthier.service.api.site import data_mapping, new_successor
from luthier.service.api.site.page import PageRoute, is_part, require_write, show
from luthier.service.api.site.spec_lines import lines_of
from luthier.service.errors import Invalid, NotFound, Problem, invalid, unreadable
from luthier.service.schemas import Fault, PlanView
from luthier.studies.documents import DocumentError
from luthier.studies.presets import PRESETS, PresetName
from luthier.studies.spec import StudySpec, parse_spec
from luthier.studies.tasks import TASKS

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/new")
TASK = "text-classification"  # whose beginning is shown where none is chosen
SHOWN_FAULT = 110  # characters of a fault beside its line; the list above it has all of it
Spec = Annotated[str, Form()]


@router.get("")
def editor(
    request: Request,
    service: ServiceDep,
    task: Annotated[str, Query(max_length=100)] = "",
    like: Annotated[str | None, Query(max_length=100)] = None,
    before: Annotated[str | None, Query(alias="from", max_length=100)] = None,
    data: Annotated[str | None, Query(max_length=100)] = None,
    preset: PresetName | Literal[""] = "",
) -> HTMLResponse:
    """Show the editor with a beginning: of a task, like a study, from its trials, or for uploaded data.

    Raises NotFound, Unavailable, Forbidden.
    """
    require_write(request)
    if task not in ("", *TASKS):
        raise NotFound(f"There is no task {task[:60]}: choose one of {', '.join(TASKS)}.")
    if data:
        mapping, text, problem = data_mapping.begin(service, data, task, request.query_params, preset or "good")
        return _page(request, text, problem, mapping=mapping)
    task = task or TASK
    if like or before:
        return _page(request, new_successor.written(service, like or before or "", goes_on=not like))
    return _page(request, _beginning(task, preset), task=task, preset=preset)


@router.post("")
def start(request: Request, service: ServiceDep, spec: Spec) -> Response:
    """Create the study and lead to it; with faults, show the editor again."""
    require_write(request)
    text = _with_newlines(spec)
    try:
        view = studies.create(_parsed(text), service, Response())
    except Problem as problem:
        return _page(request, text, problem)
    if is_part(request):
        return Response(status_code=204, headers={"HX-Redirect": f"/studies/{view.name}"})
    return RedirectResponse(f"/studies/{view.name}", 303)


@router.post("/trials")
def take_trials(request: Request, spec: Spec, trials: Annotated[UploadFile, File()]) -> HTMLResponse:
    """Show the editor with the old trials of a csv in its spec, or with what is wrong with them."""
    require_write(request)
    text = _with_newlines(spec)
    try:
        return _page(request, new_successor.with_trials(text, trials))
    except Problem as problem:
        return _page(request, text, problem)


@router.post("/plan")
async def show_plan(request: Request, service: ServiceDep, spec: Spec) -> HTMLResponse:
    """Show the editor with what a worker found for its spec, or with the spec's faults."""
    require_write(request)
    text = _with_newlines(spec)
    try:
        found = await plan.plan(await run_in_threadpool(_parsed, text), service, request)
    except Problem as problem:
        return await run_in_threadpool(_page, request, text, problem)
    return await run_in_threadpool(_page, request, text, None, found)


def _page(
    request: Request,
    text: str,
    problem: Problem | None = None,
    found: PlanView | None = None,
    task: str | None = None,
    preset: str = "",
    mapping: data_mapping.Mapping | None = None,
) -> HTMLResponse:
    """Return the page of the editor.

    Args:
        request: who looks.
        text: what the editor holds.
        problem: what is wrong with it.
        found: its plan.
        task: which beginning is shown; None for what somebody wrote.
        preset: that the beginning names.
        mapping: the uploaded data that it was begun for.
    """
    faults = lines_of(text, problem.errors or [Fault(path="", message=problem.detail)]) if problem else []
    at_line: dict[int, list[str]] = {}
    for line, fault in faults if problem and problem.errors else []:
        at_line.setdefault(line, []).append(fault.message)
    values: dict[str, Any] = {
        "text": text,
        "count": text.count("\n") + 1,
        "problem": problem,
        "faults": faults,
        "at_line": {line: "; ".join(said)[:SHOWN_FAULT] for line, said in at_line.items()},
        "found": found,
        "task": task,
        "tasks": TASKS,
        "preset": preset,
        "presets": PRESETS,
        "mapping": mapping,
    }
    # htmx puts in the page what is answered with 200 only
    return show(request, "new.html", problem.status if problem and not is_part(request) else 200, **values)


def _with_newlines(text: str) -> str:
    """Return a form's text with the newlines that everything else has."""
    return text.replace("\r\n", "\n")


def _parsed(text: str) -> StudySpec:
    """Return a spec as REST reads it. Raises Invalid."""
    try:
        return parse_spec(text)
    except ValidationError as error:
        raise invalid(error) from None
    except DocumentError as error:
        raise unreadable(error) from None
    except ValueError as error:
        raise Invalid(str(error)) from None


def _beginning(task: str, preset: str) -> str:
    """Return a commented spec of a task."""
    known = TASKS[task]
    return bytes(render("new_spec.yaml", task=known, columns=known.choices(())[0], preset=preset).body).decode()
