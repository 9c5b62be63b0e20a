"""The route of a study's report (/v1/studies/{name}/report): one file that can be mailed, and that asks no other host.

It holds what the study's answers hold, its plots, and plotly's script from its package.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from luthier.service.api import plot_page, plots, results, trials, views
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.pages import render
from luthier.service.api.security_headers import is_head
from luthier.service.errors import Conflict, NotFound, Unavailable, responses
from luthier.service.lifecycle import study_rows
from luthier.service.schemas import ModelView, StudyView, TrialView
from luthier.service.schemas.noise import IntervalView
from luthier.service.schemas.results import ResultsView
from luthier.studies.winner_tables import Example, SplitResults

router = APIRouter(prefix="/v1/studies/{name}", tags=["studies"])
FIGURES: tuple[plots.PlotKind, ...] = ("history", "intermediate", "importance", "parallel", "slice", "timeline")
BEST = 20  # trials that are shown


class Shown(NamedTuple):
    """A table of the report."""

    title: str
    header: list[str]
    rows: list[list[Any]]


@router.get("/report", response_class=StreamingResponse, responses=responses(NotFound, Unavailable) | plot_page.PAGE)
async def report(name: str, service: ServiceDep, request: Request) -> StreamingResponse:
    """Return a study as one html file: winner, scores, tables, trials, plots and spec; it needs no network."""
    headers = {"Content-Disposition": f'attachment; filename="{name}-report.html"'}
    if is_head(request.scope):  # its plots take seconds
        await run_in_threadpool(_check_there, service, name)
        return StreamingResponse(iter(()), media_type="text/html", headers=headers)
    study, told, best = await run_in_threadpool(_read, service, name)
    figures: list[tuple[str, str]] = []
    for kind in FIGURES:
        try:
            drawn = await plots.figure_of(service, lambda: name, kind)
        except Conflict:  # there is not enough to draw yet
            continue
        figures.append((kind.capitalize(), drawn.replace("<", "\\u003c")))
    counts = study.counts
    page = render(
        "report.html",
        study=study,
        ended=counts.complete + counts.pruned + counts.failed + counts.cancelled,
        tables=[*_facts(study), *_told(told), _trials(best)],
        figures=figures,
        spec=json.dumps(study.spec, indent=2, ensure_ascii=False),
    )
    body = plot_page.with_scripts(bytes(page.body), plot_page.REPORT)
    return StreamingResponse(body, media_type="text/html", headers=headers)


def _check_there(service: Service, name: str) -> None:
    """Raise NotFound where there is no such study."""
    with service.core.database.reading() as session:
        study_rows.find(session, name)


def _read(service: Service, name: str) -> tuple[StudyView, ResultsView | None, list[TrialView]]:
    """Return a study, its winner's tables if there are any, and its best trials. Raises NotFound."""
    with service.core.database.reading() as session:
        row = study_rows.find(session, name)
        study = views.study_view(session, row, *service.core.standstill(session))
        try:
            told: ResultsView | None = results.results_view(session, row)
        except Conflict:
            told = None
    sort = "value" if study.spec.get("objective", {}).get("direction") == "minimize" else "-value"
    return study, told, trials.listing(name, service, sort=sort, limit=BEST).items


def _facts(study: StudyView) -> Iterator[Shown]:
    """Yield what the winner is, and its scores beside those of what it is compared with."""
    best, baseline, majority = study.best, study.baseline, study.majority
    if best is None:
        return
    yield Shown(f"Winner: trial {best.trial}", ["hyperparameter", "value"], _rows(best.params.items()))
    metric = str(study.spec.get("objective", {}).get("metric", "score"))
    values = [None if other is None else other.value for other in (baseline, majority)]
    of_baseline, of_majority = ((None if other is None else other.test) or {} for other in (baseline, majority))
    rows = [[f"{metric} on validation", best.value, *values]]
    if best.standard_error is not None:
        rows.append([f"standard error of {metric} on validation", best.standard_error, None, None])
    rows += [
        [f"{one} on test", value, of_baseline.get(one), of_majority.get(one)]
        for one, value in (best.test or {}).items()
    ]
    intervals = [None if side is None else side.interval for side in (best, baseline)]
    if any(intervals):
        rows.append([f"95 % interval of {metric} on test", *map(_interval, intervals), None])
    yield Shown("Scores", ["score", "winner", "baseline (trial 0)", "most frequent answer"], _cells(rows))
    if study.model is not None and study.model.is_earlier:
        yield from _earlier(study.model)
    if best.gain is not None:
        gain = best.gain
        row = [gain.value, _interval(gain.interval), gain.p_value, gain.test, gain.examples]
        title = f"Gain over the baseline in {metric}, on {gain.split}"
        yield Shown(title, ["gain", "95 % interval", "p", "test", "examples"], _cells([row]))


def _earlier(model: ModelView) -> Iterator[Shown]:
    """Yield the scores of a model that an earlier winner has left."""
    title = f"Model: that of trial {model.trial}, the winner before the study was extended"
    rows = [[f"{one} on test", value] for one, value in (model.test or {}).items()]
    yield Shown(title, ["score", "value"], _cells([*rows, ["size in bytes", f"{model.bytes:,}"]]))


def _interval(interval: IntervalView | None) -> str | None:
    return None if interval is None else f"{interval.low:.4g} to {interval.high:.4g}"


def _told(found: ResultsView | None) -> Iterator[Shown]:
    """Yield the winner's tables; those of an earlier winner say so."""
    if found is None:
        return
    of_trial = f" (trial {found.trial}, an earlier winner)" if found.is_earlier else ""
    for split, tables in (("test", found.test), ("validation", found.validation)):
        if tables is not None:
            yield from _of_split(f"{split}{of_trial}", tables)


def _of_split(split: str, tables: SplitResults) -> Iterator[Shown]:
    if tables.classes:
        rows = [[one.label, one.precision, one.recall, one.f1, one.support] for one in tables.classes]
        yield Shown(f"By class, on {split}", ["class", "precision", "recall", "f1", "rows"], _cells(rows))
    if tables.confusion is not None:
        confusion = tables.confusion
        rows = [[label, *counts] for label, counts in zip(confusion.labels, confusion.counts, strict=True)]
        yield Shown(f"True (rows) and predicted (columns), on {split}", ["", *confusion.labels], _cells(rows))
    if tables.calibration is not None:
        error = f"{tables.calibration.expected_error:.4f}"
        rows = [
            [f"{one.low:.1f} to {one.high:.1f}", one.count, one.confidence, one.accuracy]
            for one in tables.calibration.bins
        ]
        title = f"Calibration on {split}: expected error {error}"
        yield Shown(title, ["probability", "answers", "mean probability", "right"], _cells(rows))
    if tables.residuals is not None:
        rows = [[f"{100 * float(q):g} %", value] for q, value in tables.residuals.quantiles.items()]
        yield Shown(f"Predicted minus true, on {split}", ["quantile", "residual"], _cells(rows))
    for title, examples in (("Worst", tables.worst), ("Least sure", tables.uncertain)):
        if examples:
            header = ["row", "input", "truth", "prediction", "score", "loss"]
            yield Shown(f"{title} answers on {split}", header, _cells(map(_example, examples)))


def _example(one: Example) -> list[Any]:
    return [one.row, one.input, one.truth, one.prediction, one.score, one.loss]


def _trials(found: list[TrialView]) -> Shown:
    """Return the best trials, best first."""
    scored = [trial for trial in found if trial.value is not None]
    names = list(dict.fromkeys(name for trial in scored for name in trial.params))
    rows = [
        [trial.number, trial.state.value, trial.value, trial.seconds, *(trial.params.get(name) for name in names)]
        for trial in scored
    ]
    return Shown(f"Best {len(rows)} trials", ["trial", "state", "value", "seconds", *names], _cells(rows))


def _rows(pairs: Iterable[tuple[str, Any]]) -> list[list[Any]]:
    return _cells([name, value] for name, value in pairs)


def _cells(rows: Iterable[list[Any]]) -> list[list[Any]]:
    return [[_cell(value) for value in row] for row in rows]


def _cell(value: Any) -> Any:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else value
