"""Studies and trials, as the REST interface answers them."""

from collections.abc import Mapping
from html import escape
from typing import Any

from pydantic import AwareDatetime, BaseModel, FiniteFloat

from luthier.service.caller import DEFAULT_PROJECT
from luthier.service.schemas.data import DataView
from luthier.service.schemas.noise import GainView, IntervalView
from luthier.service.schemas.successors import TakenFrom, TakenOverView
from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Reason, StudyState, TrialState
from luthier.studies.wire import Metrics


def html_table(title: str, rows: Mapping[str, Any]) -> str:
    """Return a table of names and values with a title; every text is escaped."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(_shown(value))}</td></tr>" for name, value in rows.items())
    return f"<table><caption>{escape(title)}</caption>{cells}</table>"


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


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
        value: the objective on the validation split; as the best of many it is optimistic.
        standard_error: of `value`, from the validation examples; null until measured.
        params: its configuration.
        test: metric -> score on the test split; null until measured.
        test_looks: how often winners were scored on the test split before this could be read: once, and once more for
            each extension of the study and each end of a study on the same data that it goes on from. Null until
            measured. The more looks, the less the best of them says about new data.
        interval: of the objective on the test split; null until measured, and where resampling tells nothing.
        gain: over the baseline; null until measured, and where the winner is the baseline.
        note: that the gain may be chance, and the cure; null where it is more.
    """

    trial: int
    value: FiniteFloat
    standard_error: FiniteFloat | None = None
    params: Params
    test: Metrics | None = None
    test_looks: int | None = None
    interval: IntervalView | None = None
    gain: GainView | None = None
    note: str | None = None


class BaselineView(BaseModel):
    """Trial 0, the task's known-good defaults.

    Attributes:
        trial: always 0.
        value: the objective on the validation split; null until it has a score.
        test: metric -> score on the test split; null until measured beside the winner.
        interval: of the objective on the test split.
    """

    trial: int
    value: FiniteFloat | None = None
    test: Metrics | None = None
    interval: IntervalView | None = None


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
    """The winner's packed model, a .tar.gz, with what was measured of it.

    Attributes:
        url: its path, relative to the service.
        sha256: its checksum, in hexadecimal digits.
        bytes: its size.
        trial: the number of its trial; null where an older version extended the study.
        is_earlier: its trial won before the study was extended, and no winner was measured since.
        test: metric -> its score on the test split.
        test_looks: how often winners had been scored on the test split before this could be read.
        interval: of the objective on the test split.
    """

    url: str
    sha256: str
    bytes: int
    trial: int | None = None
    is_earlier: bool = False
    test: Metrics | None = None
    test_looks: int | None = None
    interval: IntervalView | None = None


class WaitingView(BaseModel):
    """Why a study waits.

    Attributes:
        reason: in a word: `worker` (none is there), `disk` (the service's is full), `share` (all workers are busy),
            `room` (no GPU has memory for its trial), `parallel` (trials of its project or its owner at the same time),
            `gpu_seconds` (those of its project or its owner are used up, or reserved by trials that run), `search` (its
            search cannot draw a trial now).
        message: the same, for people, with the cure.
        seconds: for about how long; null for unknown, and where only a person ends it.
    """

    reason: str
    message: str
    seconds: FiniteFloat | None = None

    @property
    def sentence(self) -> str:
        """The message, and for about how long."""
        return self.message if self.seconds is None else f"{self.message} About {self.seconds:.0f} s more."


class StudyView(BaseModel):
    """A study.

    Attributes:
        name: unique in its project.
        project: that it belongs to.
        spec: as it was sent, with its defaults.
        counts: its trials by state.
        taken_trials: how many of them other studies have run; its budget does not pay for them.
        best: the best trial so far; the winner, once the study has ended.
        confirmed: the configurations that were trained again on fresh seeds.
        baseline: null until the baseline has been drawn.
        majority: null until it is inspected, and where an older version inspected it.
        model: null until the winner is packed; after an extension that of the winner before, until the next end.
        gpu_seconds: seconds that workers were busy with its assignments, times the GPUs, or the share of one, that each
            reserved; without a GPU times 1.
        error: why it failed, for people.
        message: anything else that people should know.
        data: its sizes, labels and findings; null until it is inspected, and in listings.
        warnings: what is wrong with it or its data, or was mended, while it goes on; each a sentence.
        taken_over: the old trials that it goes on from; null until it is inspected, without `from`, and in listings.
        parallel: trials that may run at the same time now; `spec.parallel` is what it began with.
        tags: short texts of its users, by which studies are listed.
        notes: plain text of its users.
        weight: its share of the workers' time now, beside other studies of its project and priority.
        priority: a higher one goes first, within its project.
        waiting: why nothing of it runs now, though it has work; null where something does, or it has none.
        etag: of its tags, notes, `parallel`, weight and priority, for If-Match.
    """

    name: str
    project: str = DEFAULT_PROJECT
    state: StudyState
    created_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    spec: dict[str, Any]
    counts: Counts
    taken_trials: int = 0
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
    taken_over: TakenOverView | None = None
    parallel: int | None = None
    tags: list[str] = []
    notes: str = ""
    weight: FiniteFloat = 1.0
    priority: int = 0
    waiting: WaitingView | None = None
    etag: str | None = None

    @property
    def best_params(self) -> Params | None:
        """The configuration of the best trial so far; None where none has a score."""
        return self.best.params if self.best is not None else None

    def __repr__(self) -> str:
        """Return the study in a line: its name, state, trials and best score."""
        return f"<Study {self.name}: {self.state.value}, {', '.join(self._told())}>"

    def _repr_html_(self) -> str:
        """Return the study as a small table, as notebooks show it."""
        rows: dict[str, Any] = {"state": self.state.value, "progress": ", ".join(self._told())}
        if self.best is not None:
            rows |= {f"best {name}": value for name, value in self.best.params.items()}
            rows |= {f"test {name}": value for name, value in (self.best.test or {}).items()}
            rows |= {"note": self.best.note} if self.best.note else {}
        return html_table(f"Study {self.name}", rows | ({"error": self.error} if self.error else {}))

    @property
    def done_trials(self) -> int:
        """The number of its own trials that have ended, in any way."""
        counts = self.counts
        return counts.complete + counts.pruned + counts.failed + counts.cancelled - self.taken_trials

    def _told(self) -> list[str]:
        counts = self.counts
        ended = self.done_trials
        total = self.spec.get("budget", {}).get("trials")
        told = [f"{ended}{f'/{total}' if total else ''} trials done"]
        told += [f"{count} {word}" for word, count in (("running", counts.running), ("failed", counts.failed)) if count]
        if self.best is not None:
            metric = self.spec.get("objective", {}).get("metric", "score")
            told.append(f"best {metric} {self.best.value:.4f} (trial {self.best.trial})")
        return told


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
