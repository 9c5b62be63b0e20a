"""Studies and trials, as the REST interface answers them."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, FiniteFloat

from luthier.service.schemas.data import DataView
from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Reason, StudyState, TrialState
from luthier.studies.wire import Metrics


class Counts(BaseModel):
    """The number of trials of a study in each state."""

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


class MajorityView(BaseModel):
    """Always giving the answer that is most frequent in the training split, to compare the winner with.

    Attributes:
        label: the answer.
        value: the objective on the validation split; null where it is undefined.
        metrics: metric -> score on the validation split.
        test: metric -> score on the test split; null without one.
    """

    label: str
    value: FiniteFloat | None = None
    metrics: Metrics
    test: Metrics | None = None


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
        majority: null until it is inspected, and where an older version inspected it.
        model: null until the winner is packed.
        gpu_seconds: time that workers have spent on its assignments.
        error: why it failed, for people.
        message: anything else that people should know.
        data: its sizes, labels and findings; null until it is inspected, and in listings.
        warnings: what is wrong with it or its data, or was mended, while it goes on; each a sentence.
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
    majority: MajorityView | None = None
    model: ModelView | None = None
    gpu_seconds: FiniteFloat = 0.0
    error: str | None = None
    message: str | None = None
    data: DataView | None = None
    warnings: list[str] = []


class StepView(BaseModel):
    """An evaluation of a trial on the validation split.

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
        effective_batch: the examples of an optimizer step.
        micro_batch: how many of them go through the model together; their gradients add up. Null before an evaluation.
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
    effective_batch: int | None = None
    micro_batch: int | None = None
