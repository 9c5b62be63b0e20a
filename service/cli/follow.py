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
from luthier.service.schemas.studies import Counts
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

    untold = _Untold(client, name)
    answered = time.monotonic()
    while True:
        try:
            study = client.get(name)
            running = list(client.trials(name, "running")) if study.counts.running else []
            ended = untold.ended(study, running)
            if ended and study.state not in ENDED:
                study = client.get(name)  # its counts are never behind the trials that are told with them
                if study.state in ENDED:
                    continue  # more trials may have ended since: all are read again
            stage = stage_now(client, study)
        except ServiceError as error:
            if error.status not in (0, 429, 503) or time.monotonic() - answered > PATIENCE_SECONDS:
                raise
            time.sleep(interval_seconds)
            continue
        answered = time.monotonic()
        untold.told(ended)
        yield Snapshot(study, running, ended, stage)
        if study.state in ENDED:
            return
        time.sleep(interval_seconds)


def stage_now(client: "Client", study: StudyView) -> str | None:
    """Return what a study without a trial at work does now or waits for; None where trials or its state say it."""
    if study.state is StudyState.QUEUED:
        return stage_of(client.workers(), study.name)
    if study.waiting is not None:
        return study.waiting.sentence
    if study.state in (StudyState.PAUSED, *ENDED) or study.best is None:
        return None
    if study.counts.running or study.counts.queued:
        return None
    is_over = study.state is StudyState.STOPPING or done(study) == study.spec["budget"]["trials"]
    if study.spec.get("confirm") and not study.confirmed:
        return "the best are trained again on fresh seeds" if is_over else None
    return "the winner is measured, packed, and tried as people will use it" if is_over else None


class _Untold:
    """The trials of a study whose end has not been told; numbers of deleted ones are missing, and never come again."""

    def __init__(self, client: "Client", name: str) -> None:
        self._client, self._name = client, name
        self._numbers: set[int] = set()
        self._first_new = 0  # all numbers below have been met
        self._counts: Counts | None = None  # of the last look

    def ended(self, study: StudyView, running: Sequence[TrialView]) -> list[TrialView]:
        """Return those that have ended by now."""
        if study.counts != self._counts or study.state in ENDED:
            self._counts = study.counts
            newest = max(
                (trial.number for trial in self._client.trials(self._name, sort="-number", limit=1)), default=-1
            )
            self._numbers |= set(range(self._first_new, newest + 1))
            self._first_new = max(self._first_new, newest + 1)
        unfinished = {trial.number for trial in running}
        if study.counts.queued:
            unfinished |= {trial.number for trial in self._client.trials(self._name, "queued")}
        if study.counts.paused:
            unfinished |= {trial.number for trial in self._client.trials(self._name, "paused")}
        trials = self._read(self._numbers - unfinished)
        if study.state is not StudyState.QUEUED:  # until then the baseline is missing
            self._numbers -= self._numbers - unfinished - {trial.number for trial in trials}
        return [trial for trial in trials if trial.state in FINISHED]

    def told(self, trials: Sequence[TrialView]) -> None:
        """Take note of trials whose end was told."""
        self._numbers -= {trial.number for trial in trials}

    def _read(self, numbers: set[int]) -> list[TrialView]:
        """Return those of some trials that are there; more than AT_ONCE are read by listing all trials."""
        if len(numbers) > AT_ONCE:
            return [trial for trial in self._client.trials(self._name) if trial.number in numbers]
        return [trial for number in sorted(numbers) if (trial := self._found(number)) is not None]

    def _found(self, number: int) -> TrialView | None:
        from luthier.service.client import ServiceError

        try:
            return self._client.trial(self._name, number)
        except ServiceError as error:
            if error.status != 404:
                raise
            return None


class ProgressEstimate:
    """An estimate of the time that a study may still take, from its snapshots so far."""

    def __init__(self) -> None:
        """Start without a snapshot."""
        self._busy_seconds = self._gpu_seconds = 0.0
        self._ended = 0
        self._began: datetime | None = None  # when the first trial did: the wall clock's budget counts from there

    def add(self, snapshot: Snapshot) -> None:
        """Take the next snapshot into account; each one must be added once, in order."""
        starts = (trial.started_at for trial in (*snapshot.running, *snapshot.ended))
        self._began = min((at for at in (self._began, *starts) if at is not None), default=None)
        self._busy_seconds += sum(trial.seconds or 0.0 for trial in snapshot.ended)
        self._gpu_seconds += sum(trial.gpu_seconds or 0.0 for trial in snapshot.ended)
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
            share = self._gpu_seconds / self._busy_seconds if self._gpu_seconds and self._busy_seconds else 1.0
            limits.append((budget.gpu_seconds - self._gpu_seconds) / share / max(1, len(snapshot.running)))
        if budget.wall_clock_seconds is not None and self._began is not None:
            limits.append(budget.wall_clock_seconds - (now - self._began).total_seconds())
        return max(0.0, min(limits)) if limits else None


def done(study: StudyView) -> int:
    """Return how many trials have ended, without those that other studies have run."""
    return study.done_trials


def progress(study: StudyView) -> str:
    """Return a study's counts as `5/16 trials done, 1 running, 2 pruned, 0 failed`; paused ones where there are any."""
    total = StudySpec.model_validate(study.spec).budget.trials
    parts = [f"{done(study)}{f'/{total}' if total else ''} trials done", f"{study.counts.running} running"]
    parts += [f"{study.counts.paused} paused"] if study.counts.paused else []
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
            gain = "" if study.expected_gain is None else f"; expected gain of going on {study.expected_gain:.2g}"
            yield f"{progress(study)}{best}{gain}" + (f"; about {duration(left)} left" if left is not None else "")
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
