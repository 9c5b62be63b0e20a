"""Schedules, their runs and their champions, as the REST interface answers them."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, FiniteFloat

from luthier.service.caller import DEFAULT_PROJECT
from luthier.studies.hyperparameters import Params
from luthier.studies.schedule_runs import RunOutcome, RunState, SkipReason
from luthier.studies.wire import Metrics


class ChampionView(BaseModel):
    """A schedule's model in use.

    Attributes:
        run: the id of the run that promoted it.
        study: the name of that run's study.
        trial: the number of the winner in it.
        params: its configuration.
        test: metric -> score on the test split of the day on which it was promoted.
        url: the packed model's path, relative to the service.
        sha256: its checksum, in hexadecimal digits.
        bytes: its size.
    """

    run: int
    study: str
    trial: int
    params: Params
    test: Metrics
    promoted_at: AwareDatetime
    url: str
    sha256: str
    bytes: int


class RunView(BaseModel):
    """A due time of a schedule and its outcome.

    Attributes:
        trigger: `manual` for a run that a user triggered.
        reason: the reason why it was skipped.
        outcome: the change of the champion, once the run has finished.
        message: the reason for its outcome, for people.
        study: the name of its study; null where it has none.
        fingerprint: SHA-256 of the examples and their splits; null until they are inspected.
        warm_start: the configurations of the run before, each with how it was used.
        decision: the scores of both models on the same examples, the statistical test, and its result.
        score: the objective of the model in use after the run, on that day's test data.
    """

    id: int
    due_at: AwareDatetime
    trigger: Literal["schedule", "manual"]
    state: RunState
    reason: SkipReason | None = None
    outcome: RunOutcome | None = None
    message: str | None = None
    study: str | None = None
    fingerprint: str | None = None
    warm_start: list[dict[str, Any]] = []
    decision: dict[str, Any] | None = None
    score: FiniteFloat | None = None
    created_at: AwareDatetime
    finished_at: AwareDatetime | None = None


class ScheduleView(BaseModel):
    """A schedule.

    Attributes:
        name: unique in its project.
        project: that it belongs to.
        state: active, paused, or ended (it has had its `max_runs`).
        spec: as it was sent, with its defaults.
        next: the next due times, at most 5; none when it has ended.
        champion: the model in use; null until a run has promoted one.
        note: why no model is in use; null where one is.
        last_runs: the latest runs, at most 10, newest first.
        error: why it cannot be shown whole, where its row was damaged.
        etag: of its spec, for If-Match.
    """

    name: str
    project: str = DEFAULT_PROJECT
    state: Literal["active", "paused", "ended"]
    created_at: AwareDatetime
    spec: dict[str, Any]
    next: list[AwareDatetime]
    champion: ChampionView | None = None
    note: str | None = None
    last_runs: list[RunView]
    error: str | None = None
    etag: str | None = None
