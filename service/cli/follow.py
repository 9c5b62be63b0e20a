"""Follow a study to its end: snapshots by polling, and the lines and estimates that they add up to.

`luthier run` calls it, which has the service in its own process; `live.py` does the same by events. It only reads; it
never changes a study.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from luthier.service.cli.output import cell, duration, score
from luthier.service.cli.stages import stage_of
from luthier.service.schemas import StudyView, TrialView
from luthier.studies.protocol import ENDED, FINISHED, StudyState
from luthier.studies.spec import StudySpec

if TYPE_CHECKING:
    from luthier.service.client import Client

PATIENCE_SECONDS = 60.0  # a service that restarts is waited for
AT_ONCE = 20  # trials that are read one by one


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment.

    Attributes:
        study: The study.
        running: The trials that run.
        ended: The trials that ended since the snapshot before, by number.
        stage: What a study without a trial at work does or waits for; None elsewhere.
    """

    study: StudyView
    running: Sequence[TrialView]
    ended: Sequence[TrialView]
    stage: str | None = None


def follow(client: "Client", name: str, interval_seconds: float = 1.0) -> Iterator[Snapshot]:
    """Yield snapshots of a study, the last one after it ended.

    Args:
        client: A client of the study's service.
        name: The study's name.
        interval_seconds: Pause between two snapshots.

    Raises:
        ServiceError: The service refused, or has been away for PATIENCE_SECONDS.
    """
    from luthier.service.client import ServiceError

    open_trials: set[int] = set()  # numbers below `count` whose end has not been reported
    count = 0
    answered = time.monotonic()
    while True:
        try:
            study = client.get(name)
            newest_count = sum(study.counts.model_dump().values())
            running = list(client.trials(name, "running")) if study.counts.running else []
            open_trials |= set(range(count, newest_count))
            count = max(count, newest_count)
            unfinished = {trial.number for trial in running}
            if study.counts.queued:
                unfinished |= {trial.number for trial in client.trials(name, "queued")}
            ended = _ended(client, name, sorted(open_trials - unfinished))
            if ended and study.state not in ENDED:
                study = client.get(name)  # its counts are never behind the trials that are told with them
                if study.state in ENDED:
                    continue  # more trials may have ended since: all are read again
            stage = stage_now(client, study)
        except ServiceError as error:
            if error.status not in (0, 503) or time.monotonic() - answered > PATIENCE_SECONDS:
                raise
            time.sleep(interval_seconds)
            continue
        answered = time.monotonic()
        open_trials -= {trial.number for trial in ended}
        yield Snapshot(study, running, ended, stage)
        if study.state in ENDED:
            return
        time.sleep(interval_seconds)


def stage_now(client: "Client", study: StudyView) -> str | None:
    """Return what a study without a trial at work does now or waits for; None where trials or its state say it."""
    if study.state is StudyState.QUEUED:
        return stage_of(client.workers(), study.name)
    if study.state in (StudyState.PAUSED, *ENDED) or study.best is None:
        return None
    if study.counts.running or study.counts.queued:
        return None
    is_over = study.state is StudyState.STOPPING or done(study) == study.spec["budget"]["trials"]
    if study.spec.get("confirm") and not study.confirmed:
        return "the best are trained again on fresh seeds" if is_over else None
    return "the winner is measured, packed, and tried as people will use it" if is_over else None


def _ended(client: "Client", name: str, numbers: Sequence[int]) -> list[TrialView]:
    """Return those of the trials that have ended; more than AT_ONCE are read by listing all trials."""
    if len(numbers) > AT_ONCE:
        open_trials = set(numbers)
        trials = [trial for trial in client.trials(name) if trial.number in open_trials]
    else:
        trials = [trial for number in numbers if (trial := _found(client, name, number)) is not None]
    return [trial for trial in trials if trial.state in FINISHED]


def _found(client: "Client", name: str, number: int) -> TrialView | None:
    """Return a trial; None where it is not there: the baseline, while users' configurations wait behind it."""
    from luthier.service.client import ServiceError

    try:
        return client.trial(name, number)
    except ServiceError as error:
        if error.status != 404:
            raise
        return None


class ProgressEstimate:
    """An estimate of the time that a study may still take, from its snapshots so far."""

    def __init__(self) -> None:
        """Start without a snapshot."""
        self._busy_seconds = 0.0
        self._ended = 0
        self._began: datetime | None = None  # when the first trial did: the wall clock's budget counts from there

    def add(self, snapshot: Snapshot) -> None:
        """Take the next snapshot into account; each one must be added once, in order."""
        starts = (trial.started_at for trial in (*snapshot.running, *snapshot.ended))
        self._began = min((at for at in (self._began, *starts) if at is not None), default=None)
        self._busy_seconds += sum(trial.seconds or 0.0 for trial in snapshot.ended)
        self._ended += len(snapshot.ended)

    def seconds_left(self, snapshot: Snapshot, now: datetime) -> float | None:
        """Return the seconds until the first limit of the budget, or None before the first trial has ended.

        The trials that are left take the mean time of those that ended, and as many run at the same time as run now.

        Args:
            snapshot: The latest snapshot.
            now: The present time, in UTC.
        """
        budget = StudySpec.model_validate(snapshot.study.spec).budget
        if not self._ended or snapshot.study.state in ENDED:
            return None
        mean = self._busy_seconds / self._ended
        under_way = sum(
            min(mean, (now - trial.started_at).total_seconds()) for trial in snapshot.running if trial.started_at
        )
        limits = []
        if budget.trials is not None:
            left = (budget.trials - done(snapshot.study)) * mean - under_way
            limits.append(left / max(1, len(snapshot.running)))
        if budget.gpu_seconds is not None:
            limits.append((budget.gpu_seconds - self._busy_seconds) / max(1, len(snapshot.running)))
        if budget.wall_clock_seconds is not None and self._began is not None:
            limits.append(budget.wall_clock_seconds - (now - self._began).total_seconds())
        return max(0.0, min(limits)) if limits else None


def done(study: StudyView) -> int:
    """Return how many trials have ended, without those that other studies have run."""
    return study.done_trials


def progress(study: StudyView) -> str:
    """Return a study's counts as `5/16 trials done, 1 running, 2 pruned, 0 failed`."""
    total = StudySpec.model_validate(study.spec).budget.trials
    parts = [f"{done(study)}{f'/{total}' if total else ''} trials done", f"{study.counts.running} running"]
    parts += [f"{study.counts.pruned} pruned", f"{study.counts.failed} failed"]
    return ", ".join(parts)


def trial_line(trial: TrialView) -> str:
    """Return a trial as `trial 3 complete, 0.8120 in 0:12`."""
    line = f"trial {trial.number} {trial.state.value}"
    if trial.reason is not None:
        line += f" ({trial.reason.value})"
    if trial.value is not None:
        line += f", {score(trial.value)}"
    if trial.seconds is not None:
        line += f" in {duration(trial.seconds)}"
    return line + (f": {cell(trial.error)}" if trial.error else "")


class Lines:
    """The lines that report a study: one for each trial that ended and for each change of the study's state."""

    def __init__(self) -> None:
        """Start before the first snapshot."""
        self._estimate = ProgressEstimate()
        self._state = ""
        self._message = ""
        self._stage: str | None = None
        self._warnings: list[str] = []

    def of(self, snapshot: Snapshot) -> Iterator[str]:
        """Yield the lines for the next snapshot; each one must be given once, in order."""
        study = snapshot.study
        self._estimate.add(snapshot)
        for trial in snapshot.ended:
            yield trial_line(trial)
        if snapshot.ended:
            left = self._estimate.seconds_left(snapshot, datetime.now(UTC))
            best = f"; best {score(study.best.value)} (trial {study.best.trial})" if study.best else ""
            yield f"{progress(study)}{best}" + (f"; about {duration(left)} left" if left is not None else "")
        if study.message and study.message != self._message:
            self._message = study.message
            yield cell(study.message)
        yield from (f"warning: {cell(warning)}" for warning in study.warnings if warning not in self._warnings)
        self._warnings = study.warnings
        if study.state != self._state:
            self._state = study.state
            yield f"{study.name} is {study.state.value}"
        if snapshot.stage is not None and snapshot.stage != self._stage:
            yield snapshot.stage
        self._stage = snapshot.stage
