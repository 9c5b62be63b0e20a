"""The live display of `luthier run` and `watch`: on a terminal a picture, else lines.

The picture is redrawn, and taken away at the end. That of `run` is on stderr; its results go to stdout, as tables that
`luthier run` prints.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from luthier.service.cli.curves import WIDE, LatestTrials, curves_table
from luthier.service.cli.follow import Lines, ProgressEstimate, Snapshot, done, progress
from luthier.service.cli.majority import majority_facts
from luthier.service.cli.model_facts import earlier_scores, whose
from luthier.service.cli.noise import noise_facts, with_error
from luthier.service.cli.output import cell, configuration, console, duration, facts, score, scores, table
from luthier.studies.protocol import TrialState
from luthier.studies.spec import StudySpec

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from luthier.service.schemas import BestView, StudyView, TrialView


def display(snapshots: Iterable[Snapshot]) -> "StudyView":
    """Show a study's progress on stderr until it has ended; return the ended study.

    Args:
        snapshots: At least one, the last one of the ended study.
    """
    if sys.stderr.isatty():
        return picture(snapshots, sys.stderr)
    began = time.monotonic()
    return lines(snapshots, sys.stderr, lambda: f"[{duration(time.monotonic() - began)}] ")


def lines(snapshots: Iterable[Snapshot], file: TextIO, clock: Callable[[], str] = str) -> "StudyView":
    """Print a line for each change of a study, each after what `clock` says; return the ended study."""
    told = Lines()
    last = None
    for last in snapshots:
        for line in told.of(last):
            print(f"{clock()}{line}", file=file, flush=True)
    assert last is not None  # there is at least one
    return last.study


def picture(snapshots: Iterable[Snapshot], file: TextIO) -> "StudyView":
    """Redraw a picture of a study on a terminal until it has ended, and take it away; return the ended study."""
    from rich.live import Live

    screen = console(file)
    shown = _Picture(screen.width, screen.options.ascii_only)
    last = None
    with Live(console=screen, refresh_per_second=4, transient=True, get_renderable=shown.draw):
        for last in snapshots:
            shown.add(last)
    assert last is not None
    return last.study


class _Picture:
    """A picture of a study that is drawn again and again, so that its clocks go on between two snapshots."""

    def __init__(self, width: int, plain: bool) -> None:
        self._width, self._is_plain = width, plain
        self._estimate, self._latest = ProgressEstimate(), LatestTrials()
        self._began = time.monotonic()
        self._now: tuple[Snapshot, Sequence[TrialView]] | None = None

    def add(self, snapshot: Snapshot) -> None:
        """Show the next snapshot from now on."""
        self._estimate.add(snapshot)
        self._now = snapshot, self._latest.after(snapshot.running, snapshot.ended)

    def draw(self) -> "RenderableType":
        """Return the picture of this moment; nothing before the first snapshot."""
        from rich.console import Group

        if self._now is None:
            return ""
        snapshot, trials = self._now
        study, now = snapshot.study, datetime.now(UTC)
        parts: list[RenderableType] = [*self._head(snapshot, now), progress(study), _stage(study, snapshot.stage)]
        parts += map(cell, study.warnings)
        if trials:
            metric = StudySpec.model_validate(study.spec).objective.metric
            parts += ["", curves_table(trials, metric, now, self._width, self._is_plain)]
        return Group(*parts)

    def _head(self, snapshot: Snapshot, now: datetime) -> "Iterator[RenderableType]":
        """Yield the study's name, how much is done, and the time; on a narrow terminal in two lines."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        study = snapshot.study
        left = self._estimate.seconds_left(snapshot, now)
        clock = f"{duration(time.monotonic() - self._began)} elapsed"
        clock += f", about {duration(left)} left" if left is not None else ""
        total = StudySpec.model_validate(study.spec).budget.trials
        bar = ProgressBar(total, done(study), width=30 if self._width >= WIDE else 20, pulse=not total)
        head = Table.grid(padding=(0, 2))
        if self._width >= WIDE:
            head.add_row(study.name, bar, clock)
        else:
            yield study.name
            head.add_row(bar, clock)
        yield head


def _stage(study: "StudyView", waits_for: str | None) -> str:
    """Return what a study is doing now, in a line."""
    if study.best is not None:
        metric = study.spec["objective"]["metric"]
        line = f"best so far: {metric} {score(study.best.value)} (trial {study.best.trial})"
        if study.expected_gain is not None:
            line += f"; expected gain of going on {study.expected_gain:.2g}"
        return line + (f"; {waits_for}" if waits_for is not None else "")
    if waits_for is not None:
        return waits_for
    return study.message or "the first scores are on their way"


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
        "test": scores(best.test) if best.test else _untested(study),
        **noise_facts(study),
        **majority_facts(study),
        "model": model if study.model is None or not study.model.is_earlier else f"{model}, {whose(study.model)}",
        **earlier_scores(study),
    }
    return facts(pairs, title="Winner")


def _untested(study: "StudyView") -> str:
    """Return why a winner has no scores on the test split."""
    is_measured = study.model is not None and not study.model.is_earlier
    return "no test split" if is_measured else "not measured"
