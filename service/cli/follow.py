"""Following a study to its end by asking again and again."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from luthier.service.cli.output import cell, duration, score
from luthier.service.schemas import StudyView, TrialView
from luthier.studies.protocol import ENDED, FINISHED
from luthier.studies.spec import StudySpec

if TYPE_CHECKING:
    from luthier.service.client import Client

PATIENCE_SECONDS = 60.0  # a service that restarts is waited for


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment. `ended` are the trials that ended since the snapshot before, by number."""

    study: StudyView
    running: Sequence[TrialView]
    ended: Sequence[TrialView]


def follow(client: "Client", name: str, interval_seconds: float = 1.0) -> Iterator[Snapshot]:
    """Snapshots of a study, the last one after it ended.

    Raises ServiceError; a service that is away is asked again for PATIENCE_SECONDS.
    """
    from luthier.service.client import ServiceError

    open_trials: set[int] = set()  # numbers below `known` that have not been seen ended
    known, answered = 0, time.monotonic()
    while True:
        try:
            study = client.get(name)
            counts = study.counts.model_dump()
            running = list(client.trials(name, "running")) if study.counts.running else []
            open_trials |= set(range(known, sum(counts.values())))
            known = max(known, sum(counts.values()))
            asleep = {trial.number for trial in running}
            if study.counts.queued:
                asleep |= {trial.number for trial in client.trials(name, "queued")}
            ended = _ended(client, name, sorted(open_trials - asleep))
        except ServiceError as error:
            if error.status not in (0, 503) or time.monotonic() - answered > PATIENCE_SECONDS:
                raise
            time.sleep(interval_seconds)
            continue
        answered = time.monotonic()
        open_trials -= {trial.number for trial in ended}
        yield Snapshot(study, running, ended)
        if study.state in ENDED:
            return
        time.sleep(interval_seconds)


def _ended(client: "Client", name: str, numbers: Sequence[int]) -> list[TrialView]:
    """Those of the trials that have ended; many are asked for at once."""
    if len(numbers) > 20:
        wanted = set(numbers)
        trials = [trial for trial in client.trials(name) if trial.number in wanted]
    else:
        trials = [client.trial(name, number) for number in numbers]
    return [trial for trial in trials if trial.state in FINISHED]


class ProgressEstimate:
    """What a stream of snapshots adds up to: how much is done, and how long the rest may take."""

    def __init__(self) -> None:
        self._busy_seconds, self._ended = 0.0, 0
        self._began: datetime | None = None  # when the first trial did: the wall clock's budget counts from there

    def add(self, snapshot: Snapshot) -> None:
        starts = (trial.started_at for trial in (*snapshot.running, *snapshot.ended))
        self._began = min((at for at in (self._began, *starts) if at is not None), default=None)
        self._busy_seconds += sum(trial.seconds or 0.0 for trial in snapshot.ended)
        self._ended += len(snapshot.ended)

    def seconds_left(self, snapshot: Snapshot, now: datetime) -> float | None:
        """The trials left at the mean time of those that ended, spread over those that run at once."""
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
    """Trials that have ended."""
    counts = study.counts
    return counts.complete + counts.pruned + counts.failed + counts.cancelled


def progress(study: StudyView) -> str:
    """As `5/16 trials done, 1 running, 2 pruned`."""
    total = StudySpec.model_validate(study.spec).budget.trials
    parts = [f"{done(study)}{f'/{total}' if total else ''} trials done", f"{study.counts.running} running"]
    parts += [f"{study.counts.pruned} pruned", f"{study.counts.failed} failed"]
    return ", ".join(parts)


def trial_line(trial: TrialView) -> str:
    """As `trial 3 complete, 0.8120 in 0:12`."""
    line = f"trial {trial.number} {trial.state.value}"
    if trial.reason is not None:
        line += f" ({trial.reason.value})"
    if trial.value is not None:
        line += f", {score(trial.value)}"
    if trial.seconds is not None:
        line += f" in {duration(trial.seconds)}"
    return line + (f": {cell(trial.error)}" if trial.error else "")


class Lines:
    """Snapshots as lines of text: one for each trial that ended and each change of the study's state."""

    def __init__(self) -> None:
        self._tally, self._state, self._message = ProgressEstimate(), "", ""

    def of(self, snapshot: Snapshot) -> Iterator[str]:
        study = snapshot.study
        self._tally.add(snapshot)
        for trial in snapshot.ended:
            yield trial_line(trial)
        if snapshot.ended:
            left = self._tally.seconds_left(snapshot, datetime.now(UTC))
            best = f"; best {score(study.best.value)} (trial {study.best.trial})" if study.best else ""
            yield f"{progress(study)}{best}" + (f"; about {duration(left)} left" if left is not None else "")
        if study.message and study.message != self._message:
            self._message = study.message
            yield cell(study.message)
        if study.state != self._state:
            self._state = study.state
            yield f"{study.name} is {study.state.value}"
