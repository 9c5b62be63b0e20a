"""The words the service and its workers exchange, and the states a trial and a study pass through.

A worker claims an `Assignment`, sends a `Report` after each evaluation and obeys the `Decision` that comes
back, and finishes with an `Outcome`. Everything after the claim carries the assignment's fencing token.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from luthier.studies.hyperparameters import Params
from luthier.studies.results import Comparison, Evaluation, Inspection
from luthier.studies.spec import StudySpec
from luthier.studies.wire import Bytes, FileRef, Message, Metrics, MicroBatch, Sentence


class TrialState(StrEnum):
    """States of an assignment, and so of a trial."""

    QUEUED = "queued"  # waits for a worker: new, or given back with its checkpoint
    RUNNING = "running"  # leased to one worker until a deadline
    COMPLETE = "complete"  # trained to its end; its value counts
    PRUNED = "pruned"  # ended early because it could not win, or diverged
    FAILED = "failed"  # ended by an error; `reason` says which kind
    CANCELLED = "cancelled"  # ended because its study was cancelled


FINISHED = frozenset({TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.CANCELLED})


class StudyState(StrEnum):
    """States of a study."""

    QUEUED = "queued"  # created; its model and data have not been inspected yet
    RUNNING = "running"  # trials run, or the winner is being measured
    PAUSED = "paused"  # no new trial starts until it is resumed
    STOPPING = "stopping"  # running trials finish, then the winner is measured
    COMPLETED = "completed"  # reached its budget, its target, or the end of a finite space
    STOPPED = "stopped"  # stopped by a user; its winner was measured
    CANCELLED = "cancelled"  # ended by a user at once
    FAILED = "failed"  # could not run; `error` says why and what to do


ENDED = frozenset({StudyState.COMPLETED, StudyState.STOPPED, StudyState.CANCELLED, StudyState.FAILED})

# Settings of the service that hold a secret. The local fleet's workers get only their own token, no child gets any.
SECRET_SETTINGS = (
    "LUTHIER_TOKEN",
    "LUTHIER_WORKER_TOKEN",
    "LUTHIER_DATABASE_URL",
    "LUTHIER_WEBHOOK_URL",
    "LUTHIER_WEBHOOK_SECRET",
)


class Reason(StrEnum):
    """Why a trial ended other than by running to its end."""

    OOM = "oom"  # did not fit in memory, even with the smallest micro-batch
    DIVERGED = "diverged"  # loss became NaN or infinite
    LOST_WORKER = "lost_worker"  # its workers vanished once too often
    TIMEOUT = "timeout"  # ran longer than budget.trial_seconds
    BAD_DATA = "bad_data"  # the model or the data cannot be used as the spec says
    ERROR = "error"  # anything else; `error` holds a sentence
    BUDGET = "budget"  # complete, but ended at an evaluation because the study's time was up


class AssignmentKind(StrEnum):
    """What an assignment asks for."""

    INSPECT = "inspect"  # open model and data, check both, describe them
    TRAIN = "train"  # one trial
    CONFIRM = "confirm"  # a trial's configuration again, on a fresh seed
    EVALUATE = "evaluate"  # the winner on the test split, packed as a model a person can use
    COMPARE = "compare"  # two packed models, champion and challenger, on the same test examples


TRAINING = frozenset({AssignmentKind.TRAIN, AssignmentKind.CONFIRM})


class Decision(StrEnum):
    """The answer to a report or a renewal."""

    CONTINUE = "continue"  # train on
    PRUNE = "prune"  # end now, outcome `pruned`
    STOP = "stop"  # end now, outcome `complete` with reason `budget`: what was reported counts
    CANCEL = "cancel"  # a worker's own word to its child when the lease is lost (409): drop the work, no outcome


class Problem(Message):
    """Why model or data cannot be used: a sentence with the cure, and the spec's path where there is one."""

    message: Sentence
    path: list[str | int] = Field([])


class Checkpoint(Message):
    """Where an interrupted trial goes on: after evaluation `step`, with what was best so far."""

    step: int = 0
    resume: FileRef | None = None
    best: FileRef | None = None
    best_step: int | None = None
    best_value: FiniteFloat | None = None


class Assignment(Message):
    """Work for one worker. `params` holds every hyperparameter, defaults included, depths resolved."""

    id: int
    kind: AssignmentKind
    token: str
    attempt: int  # 1 for the first
    lease_seconds: float
    study: str
    spec: StudySpec
    store: str  # absolute path of the assignment's folder on the service's machine
    store_mark: str  # content of the file `.mark` above it: a worker that reads the same shares the disk
    number: int | None = None  # the trial's number (train, evaluate), else that of the kind's
    params: Params = Field({})
    seed: int = 0
    inspection: Inspection | None = None
    checkpoint: Checkpoint = Checkpoint()  # evaluate: `best` is the winner's weights
    micro_batch: MicroBatch | None = None  # the least of what this study's trials have told
    memory_bytes: Bytes | None = None  # train: the most it may take of its GPU, which others use too
    provenance: dict[str, Any] = Field({})  # evaluate: goes into luthier.json as it is
    champion: FileRef | None = None  # compare: the model in use, packed
    challenger: FileRef | None = None  # compare: the study's winner, packed

    @property
    def model(self) -> str:
        """The model to fine-tune: the configuration's choice, or the study's only one."""
        return str(self.params.get("model", self.spec.models[0]))


class Gpu(Message):
    """The GPU that a worker computes on. Workers that name the same one share it."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$")  # unique in the world
    total_bytes: Annotated[int, Field(ge=1, lt=2**63)] | None = None  # None: not known, so it is not shared by bytes


class Claim(Message):
    """A worker asks for work, and waits up to `wait_seconds` for it."""

    worker: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")
    wait_seconds: FiniteFloat = Field(0, ge=0, le=60)
    device: Sentence = Field("cpu", max_length=200)  # what it computes on, for people
    gpu: Gpu | None = None
    version: Sentence = Field("", max_length=50)


class LeaseMessage(Message):
    """What every message about a held assignment carries."""

    id: int = Field(ge=1, lt=2**63)
    token: str = Field(max_length=64, pattern=r"^[A-Za-z0-9_-]*$")
    log: str = Field("", max_length=1_000_000)  # new log lines since the last message


class Report(LeaseMessage):
    """One evaluation on the validation split. A repeat of a step already reported gets the same decision."""

    step: int = Field(ge=1, lt=2**31)
    micro_batch: MicroBatch | None = None
    metrics: Metrics
    seconds: FiniteFloat = Field(0, ge=0)  # busy with this attempt so far
    peak_memory_bytes: Bytes | None = None
    examples_per_second: FiniteFloat | None = None
    resume: FileRef | None = None
    best: FileRef | None = None  # set when this step's weights are the trial's best so far


class Renewal(LeaseMessage):
    """Keeps the lease alive between reports."""


class Outcome(LeaseMessage):
    """How the work ended. `released`: given back unharmed; `lost`: the child process died under it."""

    status: Literal["complete", "pruned", "failed", "released", "lost"]
    reason: Reason | None = None
    problem: Problem | None = None
    micro_batch: MicroBatch | None = None
    seconds: FiniteFloat = Field(0, ge=0)
    peak_memory_bytes: Bytes | None = None
    examples_per_second: FiniteFloat | None = None
    inspection: Inspection | None = None
    evaluation: Evaluation | None = None
    comparison: Comparison | None = None


class Answer(Message):
    """The service's answer to a report or a renewal."""

    decision: Decision
    lease_seconds: float
