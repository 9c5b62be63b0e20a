"""Workers and tasks, as the REST interface answers them."""

from pydantic import AwareDatetime, BaseModel, FiniteFloat

from luthier.studies.hyperparameters import Params


class QuarantineView(BaseModel):
    """Why a worker gets no work, and until when.

    Attributes:
        reason: what it failed at, the commonest error first; or how much slower it is than others like it. Studies and
            their errors are named to admins only.
        since: when it began.
        until: when it gets one piece of work as a probe, which ends the quarantine if it goes well.
        probing: it works on its probe now.
    """

    reason: str
    since: AwareDatetime
    until: AwareDatetime
    probing: bool = False


class WorkerView(BaseModel):
    """A worker that has sent the service a message in the last day.

    Attributes:
        device: the GPU's name, or cpu.
        version: of Luthier, where the worker runs.
        state: idle, busy (with an assignment), quarantined (it gets no work), or away (silent for too long).
        study: the name of the study that it works for; null where that is another project's.
        trial: the number of its trial; null for other assignments, and of another project's studies.
        gpu: identifies its GPU; workers that name the same one share it.
        gpu_memory_bytes: of that GPU.
        reserved_bytes: of that memory, by its assignment.
        host: its machine.
        libraries: library -> version, of those that may change scores.
        quarantine: null where it is in none.
        notes: what the fleet's user should know of it, as sentences: versions that differ.
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
    host: str | None = None
    libraries: dict[str, str] = {}
    quarantine: QuarantineView | None = None
    notes: list[str] = []


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
        choices: all values, where it has no bounds; the words among them, where it has a pattern.
        pattern: the regular expression of its values, where they are text; null elsewhere.
    """

    default: bool | int | float | str
    about: str
    kind: str
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    choices: list[str] = []
    pattern: str | None = None


class TaskView(BaseModel):
    """A kind of fine-tuning, with all that a spec for it may name.

    Attributes:
        about: one sentence.
        columns: role -> column.
        metrics: the default objective first.
        baseline: the configuration of trial 0.
        hyperparameters: name -> hyperparameter.
        augmentations: name -> what it does to a training input, one sentence.
    """

    name: str
    about: str
    columns: dict[str, ColumnView]
    metrics: list[MetricView]
    baseline: Params
    hyperparameters: dict[str, HyperparameterView]
    augmentations: dict[str, str]
