"""The live display of `luthier run`: on a terminal a picture that is redrawn, else lines of text."""

import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from luthier.service.cli.follow import Lines, ProgressEstimate, Snapshot, done, progress
from luthier.service.cli.output import configuration, console, duration, facts, score, scores, table
from luthier.studies.protocol import ENDED, StudyState, TrialState
from luthier.studies.spec import StudySpec

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from luthier.service.schemas import StudyView, TrialView

SHOWN = 8  # running trials on display


def display(snapshots: Iterable[Snapshot]) -> "StudyView":
    """Show a study's way to its end on stderr; return it as it ended."""
    if not sys.stderr.isatty():
        return _plain(snapshots)
    from rich.live import Live

    tally, began, last = ProgressEstimate(), time.monotonic(), None
    with Live(console=console(sys.stderr), refresh_per_second=4, transient=True) as live:
        for last in snapshots:
            tally.add(last)
            live.update(_picture(last, tally, time.monotonic() - began))
    assert last is not None  # `follow` yields at least once
    return last.study


def _plain(snapshots: Iterable[Snapshot]) -> "StudyView":
    lines, began, last = Lines(), time.monotonic(), None
    for last in snapshots:
        for line in lines.of(last):
            print(f"[{duration(time.monotonic() - began)}] {line}", file=sys.stderr, flush=True)
    assert last is not None
    return last.study


def _picture(snapshot: Snapshot, tally: ProgressEstimate, elapsed_seconds: float) -> "RenderableType":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    study, now = snapshot.study, datetime.now(UTC)
    spec = StudySpec.model_validate(study.spec)
    left = tally.seconds_left(snapshot, now)
    head = Table.grid(padding=(0, 2))
    clock = f"{duration(elapsed_seconds)} elapsed" + (f", about {duration(left)} left" if left is not None else "")
    head.add_row(
        study.name, ProgressBar(spec.budget.trials, done(study), width=30, pulse=not spec.budget.trials), clock
    )
    parts: list[RenderableType] = [head, progress(study), _stage(study)]
    if snapshot.running:
        parts.append(_running(snapshot.running, spec, now))
    return Group(*parts)


def _stage(study: "StudyView") -> str:
    """What is going on, in a line."""
    if study.best is not None:
        metric = study.spec["objective"]["metric"]
        line = f"best so far: {metric} {score(study.best.value)} (trial {study.best.trial})"
        idle = not study.counts.running and not study.counts.queued
        over = study.state == StudyState.STOPPING or done(study) == study.spec["budget"]["trials"]
        return line + ("; measuring the winner" if idle and over and study.state not in ENDED else "")
    if study.state == StudyState.QUEUED:
        return "a worker starts, and opens model and data"
    return study.message or "the first scores are on their way"


def _running(trials: Iterable["TrialView"], spec: StudySpec, now: datetime) -> "Table":
    rows = []
    for trial in list(trials)[:SHOWN]:
        last = trial.values[-1] if trial.values else None
        seconds = (now - trial.started_at).total_seconds() if trial.started_at else None
        value = last.metrics.get(spec.objective.metric) if last else None
        rows.append(
            (trial.number, last.step if last else 0, score(value), duration(seconds), configuration(trial.params))
        )
    return table(
        (">trial", f">step (of {spec.max_steps} at most)", f">{spec.objective.metric}", ">time", "configuration"), rows
    )


def results(study: "StudyView", trials: Iterable["TrialView"], model: str | None, shown: int = 5) -> list["Table"]:
    """Tables of an ended study: its best trials, then the winner beside the baseline, on validation and test."""
    spec = StudySpec.model_validate(study.spec)
    whole = [t for t in trials if t.state is TrialState.COMPLETE and t.value is not None]
    scored = sorted(whole, key=lambda t: t.value or 0.0, reverse=spec.maximize)
    names = list(spec.space)
    rows = (
        (t.number, score(t.value), duration(t.seconds), *(t.params.get(name) for name in names)) for t in scored[:shown]
    )
    columns = (">trial", f">{spec.objective.metric}", ">time", *(f">{name}" for name in names))
    made = [table(columns, rows, title="Best trials")] if scored else []
    best = study.best
    if best is not None:
        baseline = study.baseline.value if study.baseline else None
        made.append(
            facts(
                {
                    "winner": f"trial {best.trial}: {configuration(best.params)}",
                    "validation": f"{spec.objective.metric} {score(best.value)}"
                    + (
                        f" (baseline, trial 0: {score(baseline)}, {best.value - baseline:+.4f})"
                        if baseline is not None
                        else ""
                    ),
                    "test": scores(best.test) if best.test else "no test split",
                    "model": model,
                },
                title="Winner",
            )
        )
    return made
