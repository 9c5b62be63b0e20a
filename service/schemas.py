"""What the REST interface answers: the shapes its routes return and its client parses.

Times are aware and UTC; numbers are finite or null, with a reason beside them. A client ignores keys it does
not know, so a newer service stays readable.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, FiniteFloat

from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Reason, StudyState, TrialState
from luthier.studies.results import BatchFit, Block
from luthier.studies.schedule import RunOutcome, RunState, SkipReason
from luthier.studies.wire import Metrics

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page of a list; `next_cursor` asks for the page after it, and is null on the last."""

    items: list[T]
    next_cursor: str | None = None


class Counts(BaseModel):
    """Trials of a study by state."""

    queued: int = 0
    running: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    cancelled: int = 0


class BestView(BaseModel):
    """The winner so far: its validation score, and its scores on the test split once they were measured."""

    trial: int
    value: FiniteFloat
    params: Params
    test: Metrics | None = None


class BaselineView(BaseModel):
    """Trial 0, the task's known-good defaults; `value` is null until it has a score."""

    trial: int
    value: FiniteFloat | None = None


class ConfirmedView(BaseModel):
    """A configuration that was trained again on fresh seeds: its validation scores, and their mean, which decides."""

    trial: int
    values: list[FiniteFloat]
    mean: FiniteFloat


class ModelView(BaseModel):
    """The winner's packed model: a .tar.gz at `url`, relative to the service."""

    url: str
    sha256: str
    bytes: int


class StudyView(BaseModel):
    """A study as its rows tell it. `error` says why it failed; `message` what else a person should know."""

    name: str
    state: StudyState
    created_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    spec: dict[str, Any]
    counts: Counts
    best: BestView | None = None
    confirmed: list[ConfirmedView] = []
    baseline: BaselineView | None = None
    model: ModelView | None = None
    gpu_seconds: FiniteFloat = 0.0
    error: str | None = None
    message: str | None = None


class StepView(BaseModel):
    """One evaluation of a trial on the validation split."""

    step: int
    metrics: Metrics


class TrialView(BaseModel):
    """A trial. `value` is the objective as the spec measures it; `reason` says why it ended early."""

    number: int
    state: TrialState
    params: Params
    value: FiniteFloat | None = None
    values: list[StepView] = []
    reason: Reason | None = None
    error: str | None = None
    attempt: int = 1
    worker: str | None = None
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    seconds: FiniteFloat | None = None
    seed: int | None = None
    peak_memory_bytes: int | None = None
    examples_per_second: FiniteFloat | None = None


class ChampionView(BaseModel):
    """A schedule's model in use, and its scores on the test split of the day it was promoted."""

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
    """A due time of a schedule and what came of it. `score`: of the model in use after it, on that day's test data.

    `warm_start` says of each configuration of the run before what became of it; `decision` holds both models' scores on
    the same examples, the test, and the reason.
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
    """A schedule. `state`: active, paused, or ended (it has had its `max_runs`). `next`: the next due times."""

    name: str
    state: Literal["active", "paused", "ended"]
    created_at: AwareDatetime
    spec: dict[str, Any]
    next: list[AwareDatetime]
    champion: ChampionView | None = None
    last_runs: list[RunView]


class DataView(BaseModel):
    """Rows per split, and per label over all splits."""

    rows: dict[str, int]
    labels: dict[str, int]


class ModelPlan(BaseModel):
    """A model's blocks, bottom first, and the parameters trained at freeze depth 0, 1, ... L."""

    model: str
    blocks: list[Block]
    trainable_parameters: list[int]


class PlanEstimates(BaseModel):
    """From a probe of a few steps: one trial at the baseline's configuration, and the whole study."""

    seconds_per_trial: FiniteFloat
    seconds: FiniteFloat | None = None
    memory_bytes: int | None = None
    batch_sizes: list[BatchFit] = []  # of the space, ascending


class PlanView(BaseModel):
    """What a spec would run; nothing is stored. `space` has `auto` resolved."""

    space: dict[str, Any]
    data: DataView
    models: list[ModelPlan]
    estimates: PlanEstimates | None = None


class WorkerView(BaseModel):
    """A worker the service has heard of, and what it does: idle, busy (with a trial), or away."""

    name: str
    device: str
    version: str
    state: str
    study: str | None = None
    trial: int | None = None
    gpu: str | None = None  # workers that name the same one share it
    gpu_memory_bytes: int | None = None
    reserved_bytes: int | None = None  # of it, by the trial that it runs
    last_seen_at: AwareDatetime


class MetricView(BaseModel):
    """A score; the first of a task's is its default objective."""

    name: str
    maximize: bool
    about: str


class ColumnView(BaseModel):
    """A role a column plays, and the column's name where a spec does not give one."""

    default: str
    required: bool


class HyperparameterView(BaseModel):
    """A hyperparameter: the value it has where a space leaves it out, and its bounds or choices."""

    default: bool | int | float | str
    about: str
    kind: str
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    choices: list[str] = []


class TaskView(BaseModel):
    """A kind of fine-tuning: everything a spec for it may name. `baseline` is trial 0."""

    name: str
    about: str
    columns: dict[str, ColumnView]
    metrics: list[MetricView]
    baseline: Params
    hyperparameters: dict[str, HyperparameterView]


class Fault(BaseModel):
    """One thing wrong with what was sent: the path of the value, as space.learning_rate.low, and what is right."""

    path: str
    message: str

    def __str__(self) -> str:
        """Return `path: message`, or the message alone where it concerns the whole document."""
        return f"{self.path}: {self.message}" if self.path else self.message


def faults_of(errors: Iterable[Mapping[str, Any]], skip: int = 0) -> list[Fault]:
    """Return the path and message of each of pydantic's errors; the input is not echoed.

    Args:
        errors: what `errors()` of a ValidationError returns.
        skip: so many leading parts of each path are dropped.
    """
    return [
        Fault(
            path=".".join(str(part) for part in error["loc"][skip:]),
            message="unknown key" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, "),
        )
        for error in errors
    ]


class ProblemView(BaseModel):
    """An error, as `application/problem+json` (RFC 9457); `errors` is this service's extension member."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[Fault] = []
