"""Trials, as the REST interface answers them."""

from pydantic import AwareDatetime, BaseModel, FiniteFloat

from luthier.service.schemas.html_table import html_table
from luthier.service.schemas.successors import TakenFrom
from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Reason, TrialState
from luthier.studies.wire import Metrics


class StepView(BaseModel):
    """An evaluation of a trial on the validation split.

    Attributes:
        step: the number of the evaluation, from 1.
        metrics: metric -> score.
    """

    step: int
    metrics: Metrics


class FileView(BaseModel):
    """A file of a trial that the service keeps.

    Attributes:
        name: in the trial's folder of the store: `best-N`, the weights of evaluation N; `resume-N`, the state to
            continue from; `model.tar.gz`, the packed winner.
        bytes: its size.
    """

    name: str
    bytes: int


class TrialView(BaseModel):
    """A trial.

    Attributes:
        params: its configuration; what a user asked for, while it waits for the inspection.
        value: the objective; null until it has a score.
        values: its evaluations, by step: its learning curve.
        reason: why it ended early.
        error: the same, for people.
        attempt: how many times a worker has begun it.
        worker: the name of the worker that has it or had it last.
        seconds: time that workers have spent on it, over all attempts.
        gpu_seconds: that time, times the GPUs, or the share of one, that each attempt reserved; without a GPU times 1.
        seed: of its weights, order of data and dropout.
        peak_memory_bytes: the most that its worker's device had in use.
        examples_per_second: of training, at its latest evaluation.
        effective_batch: the examples of an optimizer step.
        micro_batch: how many of them go through the model together; their gradients add up. Null before an evaluation.
        taken_from: where it ran, with all its scores; null: in this study.
        retry_of: the number of the trial whose configuration and seed it has again.
        stopping: a user has stopped it, and it ends at its next evaluation.
        files: those that are kept of it, beside its log.
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
    gpu_seconds: FiniteFloat | None = None
    seed: int | None = None
    peak_memory_bytes: int | None = None
    examples_per_second: FiniteFloat | None = None
    effective_batch: int | None = None
    micro_batch: int | None = None
    taken_from: TakenFrom | None = None
    retry_of: int | None = None
    stopping: bool = False
    files: list[FileView] = []

    def __repr__(self) -> str:
        """Return the trial in a line: its number, state, score and configuration."""
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        score = "" if self.value is None else f", {self.value:.4f}"
        return f"<Trial {self.number}: {self.state.value}{score} ({params})>"

    def _repr_html_(self) -> str:
        """Return the trial as a small table, as notebooks show it."""
        rows = {"state": self.state.value, "value": self.value, **self.params}
        return html_table(f"Trial {self.number}", rows | ({"error": self.error} if self.error else {}))
