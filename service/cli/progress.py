"""The live display of `luthier run`: on a terminal a picture that is redrawn, else lines of text.

It prints to stderr; the results go to stdout, as tables that `luthier run` prints.
"""

import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from luthier.service.cli.follow import Lines, ProgressEstimate, Snapshot, done, progress
from luthier.service.cli.majority import majority_facts
from luthier.service.cli.noise import noise_facts, with_error
from luthier.service.cli.output import cell, configuration, console, duration, facts, score, scores, table
from luthier.studies.protocol import TrialState
from luthier.studies.spec import StudySpec

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from luthier.service.schemas import BestView, StudyView, TrialView

SHOWN = 8  # running trials in the picture


def display(snapshots: Iterable[Snapshot]) -> "StudyView":
    """Show a study's progress on stderr until it has ended; return the ended study.

    Args:
        snapshots: At least one, the last one of the ended study.
    """
    if not sys.stderr.isatty():
        return _plain(snapshots)
    from rich.live import Live

    estimate = ProgressEstimate()
    began = time.monotonic()
    last = None
    with Live(console=console(sys.stderr), refresh_per_second=4, transient=True) as live:
        for last in snapshots:
            estimate.add(last)
            live.update(_picture(last, estimate, time.monotonic() - began))
    assert last is not None  # `follow` yields at least once
    return last.study


def _plain(snapshots: Iterable[Snapshot]) -> "StudyView":
    lines = Lines()
    began = time.monotonic()
    last = None
    for last in snapshots:
        for line in lines.of(last):
            print(f"[{duration(time.monotonic() - began)}] {line}", file=sys.stderr, flush=True)
    assert last is not None
    return last.study


def _picture(snapshot: Snapshot, estimate: ProgressEstimate, elapsed_seconds: float) -> "RenderableType":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    study = snapshot.study
    now = datetime.now(UTC)
    spec = StudySpec.model_validate(study.spec)
    left = estimate.seconds_left(snapshot, now)
    head = Table.grid(padding=(0, 2))
    clock = f"{duration(elapsed_seconds)} elapsed" + (f", about {duration(left)} left" if left is not None else "")
    head.add_row(
        study.name, ProgressBar(spec.budget.trials, done(study), width=30, pulse=not spec.budget.trials), clock
    )
    parts: list[RenderableType] = [head, progress(study), _stage(study, snapshot.stage), *map(cell, study.warnings)]
    if snapshot.running:
        parts.append(_running(snapshot.running, spec, now))
    return Group(*parts)


def _stage(study: "StudyView", waits_for: str | None) -> str:
    """Return what a study is doing now, in a line."""
    if study.best is not None:
        metric = study.spec["objective"]["metric"]
        line = f"best so far: {metric} {score(study.best.value)} (trial {study.best.trial})"
        return line + (f"; {waits_for}" if waits_for is not None else "")
    if waits_for is not None:
        return waits_for
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
    """Return the tables of an ended study: its best trials, then its winner.

    Args:
        study: The study.
        trials: All its trials.
        model: Where the winner's directory lies, or None where there is none.
        shown: How many of the best trials.
    """
    spec = StudySpec.model_validate(study.spec)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    ranked = sorted(complete, key=lambda trial: trial.value or 0.0, reverse=spec.maximize)
    names = list(spec.space)
    rows = (
        (trial.number, score(trial.value), duration(trial.seconds), *(trial.params.get(name) for name in names))
        for trial in ranked[:shown]
    )
    columns = (">trial", f">{spec.objective.metric}", ">time", *(f">{name}" for name in names))
    tables = [table(columns, rows, title="Best trials")] if ranked else []
    if study.best is not None:
        tables.append(_winner(study, study.best, spec.objective.metric, model))
    return tables


def _winner(study: "StudyView", best: "BestView", metric: str, model: str | None) -> "Table":
    """Return the winner of a study beside its baseline, on validation and test."""
    validation = f"{metric} {with_error(best)}"
    baseline = study.baseline.value if study.baseline else None
    if baseline is not None:
        validation += f" (baseline, trial 0: {score(baseline)}, {best.value - baseline:+.4f})"
    pairs = {
        "winner": f"trial {best.trial}: {configuration(best.params)}",
        "validation": validation,
        "test": scores(best.test) if best.test else "no test split",
        **noise_facts(study),
        **majority_facts(study),
        "model": model,
    }
    return facts(pairs, title="Winner")
