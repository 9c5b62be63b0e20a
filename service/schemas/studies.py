"""The answers of the REST interface: the shapes that its routes return and its client parses.

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
    """One page of a list.

    Attributes:
        items: at most as many as the request's `limit`.
        next_cursor: the `cursor` that asks for the next page; null on the last.
    """

    items: list[T]
    next_cursor: str | None = None


class Counts(BaseModel):
    """How many trials a study has in each state."""

    queued: int = 0
    running: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    cancelled: int = 0


class BestView(BaseModel):
    """The winner so far.

    Attributes:
        trial: its number.
        value: the objective on the validation split.
        params: its configuration.
        test: metric -> score on the test split; null until measured.
    """

    trial: int
    value: FiniteFloat
    params: Params
    test: Metrics | None = None


class BaselineView(BaseModel):
    """Trial 0, the task's known-good defaults.

    Attributes:
        trial: always 0.
        value: the objective on the validation split; null until it has a score.
    """

    trial: int
    value: FiniteFloat | None = None


class ConfirmedView(BaseModel):
    """A configuration that was trained again on fresh seeds.

    Attributes:
        trial: the number of the trial that had it first.
        values: the objective on the validation split, for each seed.
        mean: of `values`; the best mean wins.
    """

    trial: int
    values: list[FiniteFloat]
    mean: FiniteFloat


class ModelView(BaseModel):
    """The winner's packed model, a .tar.gz.

    Attributes:
        url: its path, relative to the service.
        sha256: its checksum, in hexadecimal digits.
        bytes: its size.
    """

    url: str
    sha256: str
    bytes: int


class StudyView(BaseModel):
    """A study.

    Attributes:
        spec: as it was sent, with its defaults.
        counts: its trials by state.
        best: the best trial so far; the winner, once the study has ended.
        confirmed: the configurations that were trained again on fresh seeds.
        baseline: null until the baseline has been drawn.
        model: null until the winner is packed.
        gpu_seconds: time that workers have spent on its assignments.
        error: why it failed, for people.
        message: anything else that people should know.
    """

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
    """One evaluation of a trial on the validation split.

    Attributes:
        step: the number of the evaluation, from 1.
        metrics: metric -> score.
    """

    step: int
    metrics: Metrics


class TrialView(BaseModel):
    """A trial.

    Attributes:
        params: its configuration.
        value: the objective; null until it has a score.
        values: its evaluations, by step.
        reason: why it ended early.
        error: the same, for people.
        attempt: how many times a worker has begun it.
        worker: the name of the worker that has it or had it last.
        seconds: time that workers have spent on it, over all attempts.
        seed: of its weights, order of data and dropout.
        peak_memory_bytes: the most that its worker's device had in use.
        examples_per_second: of training, at its latest evaluation.
    """

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
        reason: why it was skipped.
        outcome: whether its model was promoted, once it has finished.
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
        state: active, paused, or ended (it has had its `max_runs`).
        spec: as it was sent, with its defaults.
        next: the next due times, at most 5; none when it has ended.
        champion: the model in use; null until a run has promoted one.
        last_runs: the latest runs, at most 10, newest first.
    """

    name: str
    state: Literal["active", "paused", "ended"]
    created_at: AwareDatetime
    spec: dict[str, Any]
    next: list[AwareDatetime]
    champion: ChampionView | None = None
    last_runs: list[RunView]


class DataView(BaseModel):
    """The size of the data.

    Attributes:
        rows: split -> number of examples.
        labels: label -> number of examples, over all splits.
    """

    rows: dict[str, int]
    labels: dict[str, int]


class ModelPlan(BaseModel):
    """A model that a spec names, as a worker found it.

    Attributes:
        model: as in the spec.
        blocks: bottom first.
        trainable_parameters: how many parameters are trained at freeze depth 0, 1, ... len(blocks).
    """

    model: str
    blocks: list[Block]
    trainable_parameters: list[int]


class PlanEstimates(BaseModel):
    """Estimates from a probe of a few steps with the baseline's configuration.

    Attributes:
        seconds_per_trial: of one trial.
        seconds: of all trials of the budget, `parallel` at the same time; null without a budget of trials.
        memory_bytes: of the device, at most.
        batch_sizes: whether each batch size of the space fits, ascending.
    """

    seconds_per_trial: FiniteFloat
    seconds: FiniteFloat | None = None
    memory_bytes: int | None = None
    batch_sizes: list[BatchFit] = []


class PlanView(BaseModel):
    """A plan: what a spec would run. Nothing is stored.

    Attributes:
        space: the search space, with each `auto` resolved.
        data: sizes of the data.
        models: in the order of the spec.
        estimates: null where the worker could not probe.
    """

    space: dict[str, Any]
    data: DataView
    models: list[ModelPlan]
    estimates: PlanEstimates | None = None


class WorkerView(BaseModel):
    """A worker that has sent the service a message in the last day.

    Attributes:
        device: the GPU's name, or cpu.
        version: of Luthier, where the worker runs.
        state: idle, busy (with an assignment), or away (silent for too long).
        study: the name of the study that it works for.
        trial: the number of its trial; null for other assignments.
        gpu: identifies its GPU; workers that name the same one share it.
        gpu_memory_bytes: of that GPU.
        reserved_bytes: of that memory, by its assignment.
    """

    name: str
    device: str
    version: str
    state: str
    study: str | None = None
    trial: int | None = None
    gpu: str | None = None
    gpu_memory_bytes: int | None = None
    reserved_bytes: int | None = None
    last_seen_at: AwareDatetime


class MetricView(BaseModel):
    """A metric of a task; the first one is the default objective.

    Attributes:
        maximize: more is better.
        about: one sentence.
    """

    name: str
    maximize: bool
    about: str


class ColumnView(BaseModel):
    """A role that a column of the data has.

    Attributes:
        default: the column's name where a spec gives none.
        required: the data must have the column.
    """

    default: str
    required: bool


class HyperparameterView(BaseModel):
    """A hyperparameter that a space may hold.

    Attributes:
        default: its value where a space leaves it out.
        about: one sentence.
        kind: the type of its values.
        low: the least value, included; null without a bound.
        high: the greatest value, included; null without a bound.
        choices: all values, where it has no bounds.
    """

    default: bool | int | float | str
    about: str
    kind: str
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    choices: list[str] = []


class TaskView(BaseModel):
    """A kind of fine-tuning, with all that a spec for it may name.

    Attributes:
        about: one sentence.
        columns: role -> column.
        metrics: the default objective first.
        baseline: the configuration of trial 0.
        hyperparameters: name -> hyperparameter.
    """

    name: str
    about: str
    columns: dict[str, ColumnView]
    metrics: list[MetricView]
    baseline: Params
    hyperparameters: dict[str, HyperparameterView]


class Fault(BaseModel):
    """One wrong value of a request.

    Attributes:
        path: of the value, as space.learning_rate.low; empty for the document as a whole.
        message: what is wrong and what is right.
    """

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
    """An error, as `application/problem+json` (RFC 9457).

    Attributes:
        type: always about:blank: the status says what kind it is.
        title: the status in words.
        status: the HTTP status.
        detail: one sentence for people.
        errors: each wrong value; an extension member of this service.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[Fault] = []
