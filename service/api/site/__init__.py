"""The pages at `/`: studies, a study, a trial, comparisons, workers, schedules, a new study.

They are rendered here from the same functions that REST answers with; buttons call REST's own routes, so that a page
can do what a program can and nothing else. Parts of a page that live ask for themselves again by htmx.
"""

from fastapi import FastAPI

from luthier.service.api.site import (
    compare,
    data,
    enqueue,
    extend,
    new,
    onnx,
    predict,
    projects,
    results,
    schedules,
    studies,
    study,
    study_change,
    timeline,
    tokens,
    trial,
    trial_table,
    workers,
)

_OF_A_STUDY = (study_change, extend, enqueue, predict, onnx, results, trial, trial_table, timeline)


def install(app: FastAPI) -> None:
    """Add the pages to `app`; fixed paths come before those that hold a name."""
    app.include_router(study.numbered)
    for module in (studies, compare, data, new, workers, schedules, projects, tokens, *_OF_A_STUDY, study):
        app.include_router(module.router)
