"""The messages between the service and its workers, and the states of trials and studies.

A worker claims an `Assignment`, sends a `Report` after each evaluation and obeys the `Decision` in the answer, and
finishes with an `Outcome`. Every message after the claim carries the assignment's fencing token. Names of fields and
values are stored and sent: they must never change in JSON.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from luthier.studies.averages import MemberWeights
from luthier.studies.hyperparameters import Params
from luthier.studies.results import BaselineWeights, Comparison, Evaluation, Inspection, OnnxExport, Prediction
from luthier.studies.spec import StudySpec
from luthier.studies.wire import (
    MOST_BYTES,
    WORKER_NAME,
    Bytes,
    DatasetRef,
    FileRef,
    Libraries,
    Message,
    Metrics,
    MicroBatch,
    Seconds,
    Sentence,
    Speed,
    cut,
)


class TrialState(StrEnum):
    """States of an assignment, and so of a trial."""

    QUEUED = "queued"  # waits for a worker: new, or given back with its checkpoint
    RUNNING = "running"  # leased to one worker until a deadline
    PAUSED = "paused"  # waits at a rung with its file, without a worker, until it is among the best there
    COMPLETE = "complete"  # trained to its end; its value counts
    PRUNED = "pruned"  # ended early because it could not win, or diverged
    FAILED = "failed"  # ended by an error; `reason` says which kind
    CANCELLED = "cancelled"  # ended because its study was, or stopped by a user before its first evaluation


FINISHED = frozenset({TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.CANCELLED})


class StudyState(StrEnum):
    """States of a study."""

    QUEUED = "queued"  # created; its model and data have not been inspected yet
    RUNNING = "running"  # trials run, or the winner is being measured
    PAUSED = "paused"  # no new trial starts until it is resumed
    STOPPING = "stopping"  # running trials finish, then the winner is measured
    COMPLETED = "completed"  # reached its budget, its target, or the end of a finite space
    STOPPED = "stopped"  # stopped by a user; its winner was measured
    CANCELLED = "cancelled"  # ended by a user, running trials too
    FAILED = "failed"  # could not run; `error` says why, with the cure


ENDED = frozenset({StudyState.COMPLETED, StudyState.STOPPED, StudyState.CANCELLED, StudyState.FAILED})

# Settings of the service that hold a secret, or the folders of secrets. The local fleet's workers get only their own
# token, no child gets any.
SECRET_SETTINGS = (
    "LUTHIER_TOKEN",
    "LUTHIER_WORKER_TOKEN",
    "LUTHIER_DATABASE_URL",
    "LUTHIER_WEBHOOK_URL",
    "LUTHIER_WEBHOOK_SECRET",
    "LUTHIER_SECRETS_DIR",
)

# Those, and variables with which libraries reach the database: processes that need none of them do not get them.
SECRET_VARIABLES = (*SECRET_SETTINGS, "PGPASSWORD", "PGPASSFILE")


class Reason(StrEnum):
    """The reasons why a trial ended early or failed."""

    OOM = "oom"  # did not fit in memory, even with the smallest micro-batch
    DIVERGED = "diverged"  # loss became NaN or infinite
    LOST_WORKER = "lost_worker"  # its workers vanished once too often
    TIMEOUT = "timeout"  # ran longer than budget.trial_seconds; complete if it had a score by then, else failed
    DISK = "disk"  # its files took more than LUTHIER_TRIAL_DISK
    BAD_DATA = "bad_data"  # the model or the data cannot be used as the spec says
    AWAY = "away"  # bad_data, though the inspection was good: this worker lacks model or data; the work is given back
    DAMAGED = "damaged"  # evaluate, compare: a file that it needs is gone or changed; a training starts over instead
    ERROR = "error"  # anything else; `error` holds a sentence
    BUDGET = "budget"  # complete, but ended at an evaluation because the study's time was up
    STOPPED = "stopped"  # ended at an evaluation because a user stopped the trial; cancelled if it had none
    EARLY_STOPPING = "early_stopping"  # complete, but ended at an evaluation because its score stood still


class AssignmentKind(StrEnum):
    """The kinds of work that an assignment can ask for."""

    INSPECT = "inspect"  # open model and data, check both, describe them
    TRAIN = "train"  # one trial
    CONFIRM = "confirm"  # a trial's configuration again, on a fresh seed
    EVALUATE = "evaluate"  # the winner on the test split, packed as a model a person can use
    PREDICT = "predict"  # the packed winner's answers to the rows of a user's table
    ONNX = "onnx"  # the packed winner as an ONNX file
    COMPARE = "compare"  # two packed models, champion and challenger, on the same test examples


TRAINING = frozenset({AssignmentKind.TRAIN, AssignmentKind.CONFIRM})
USES = frozenset({AssignmentKind.PREDICT, AssignmentKind.ONNX})
"""Uses of an ended study's winner: no part of the search, its costs and its events."""


class Decision(StrEnum):
    """The answer to a report or a renewal."""

    CONTINUE = "continue"  # train on
    PRUNE = "prune"  # end now, outcome `pruned`
    PAUSE = "pause"  # write the file to go on from, then end, outcome `paused`; only at a rung, where the child waits
    STOP = "stop"  # end now, outcome `complete` with reason `budget`: the reported scores count, whoever ended it
    CANCEL = "cancel"  # no service sends it: a worker tells its child that the lease is lost; the child drops the work


PathPart = Annotated[str, AfterValidator(lambda text: cut(text, 200))] | Annotated[int, Field(ge=-(2**63), lt=2**63)]


class DataProblem(Message):
    """The reason why a model or its data cannot be used: a sentence with the cure."""

    message: Sentence
    # Of the wrong value in the spec, where there is one.
    path: Annotated[list[PathPart], AfterValidator(lambda parts: parts[:20])] = Field([])


class Checkpoint(Message):
    """The point from which an interrupted trial continues: after evaluation `step`, with its best weights."""

    step: int = 0
    resume: FileRef | None = None
    best: FileRef | None = None
    best_step: int | None = None
    best_value: FiniteFloat | None = None


class Assignment(Message):
    """A piece of work for one worker."""

    id: int
    kind: AssignmentKind
    token: str
    attempt: int  # 1 for the first
    lease_seconds: float  # from the last message on; then the work may be given to another worker
    study: str
    spec: StudySpec
    store: str  # absolute path of the assignment's folder on the service's machine
    store_mark: str  # content of the file `.mark` above it: a worker that reads the same shares the disk
    # train: the trial's number. evaluate: the number of the trial, or of the repetition, whose weights are measured.
    # confirm: the repetition's, counted from 0 in the study. compare: the champion's id. inspect: None.
    # predict: the prediction's, counted from 1 in the study. onnx: the winner's trial.
    number: int | None = None
    params: Params = Field({})  # every hyperparameter, defaults included; freeze_depth is a number of blocks
    seed: int = 0
    inspection: Inspection | None = None
    checkpoint: Checkpoint = Checkpoint()  # evaluate: `best` is the winner's weights
    micro_batch: MicroBatch | None = None  # the smallest that a trial of this study has reported
    # train: what earlier attempts have used of budget.trial_seconds; not written where that is nothing, as before.
    timed_seconds: Seconds = Field(0, exclude_if=lambda seconds: not seconds)
    memory_bytes: Bytes | None = None  # train: the most it may take of a GPU that other trials use too
    provenance: dict[str, Any] = Field({})  # evaluate: content of luthier.json in the packed model
    champion: FileRef | None = None  # compare: the model in use, packed
    challenger: FileRef | None = None  # compare: the study's winner, packed
    # packed: the study's winner, for predict and onnx. table: for predict. Written only there, so that other messages
    # stay as they were.
    packed: FileRef | None = Field(None, exclude_if=lambda ref: ref is None)
    table: FileRef | None = Field(None, exclude_if=lambda ref: ref is None)
    # evaluate: what the winner is scored beside; not written where there is none, as before.
    baseline: BaselineWeights | None = Field(None, exclude_if=lambda baseline: baseline is None)
    # evaluate: the winner's other repetitions, best first, to be averaged with it; not written where there are none.
    members: list[MemberWeights] = Field([], exclude_if=lambda members: not members)
    # That the spec names and that are there; left out where there are none, for workers of the version before.
    datasets: list[DatasetRef] = Field([], exclude_if=lambda datasets: not datasets)
    project: str | None = Field(None, exclude_if=lambda project: project is None)  # the study's; None: `default`

    @property
    def files(self) -> list[FileRef]:
        """The files that the work cannot do without, which lie in the assignment's folder."""
        checkpoint = self.checkpoint
        named = (checkpoint.resume, checkpoint.best, self.champion, self.challenger, self.packed, self.table)
        return [ref for ref in named if ref is not None]

    @property
    def model(self) -> str:
        """The model to fine-tune: the configuration's choice, else the study's only model."""
        return str(self.params.get("model", self.spec.models[0]))


class Gpu(Message):
    """The GPU that a worker computes on. Workers with the same id share it."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$")  # unique in the world
    total_bytes: Annotated[int, Field(ge=1, le=MOST_BYTES)] | None = (
        None  # None: not known, so it is not shared by bytes
    )


class Claim(Message):
    """A worker's request for work, which the service may answer up to `wait_seconds` later."""

    worker: str = Field(pattern=WORKER_NAME)
    wait_seconds: FiniteFloat = Field(0, ge=0, le=60, strict=True)
    device: Sentence = Field("cpu", max_length=200)  # the device that it computes on, for people
    gpu: Gpu | None = None
    version: Sentence = Field("", max_length=50)
    protocol: int = Field(1, ge=0, lt=2**31)  # `studies/versions.py`; older workers send none
    host: Sentence = Field("", max_length=200)  # the machine, for which worker is tried where another one failed
    libraries: Libraries = Field({})


class LeaseMessage(Message):
    """The fields of every message about a leased assignment."""

    id: int = Field(ge=1, lt=2**63)
    token: str = Field(max_length=64, pattern=r"^[A-Za-z0-9_-]*$")
    log: str = Field("", max_length=1_000_000)  # new log lines since the last message
    # What all attempts have used of budget.trial_seconds; not written where no such limit counts, as before.
    timed_seconds: Seconds | None = Field(None, exclude_if=lambda seconds: seconds is None)


class Report(LeaseMessage):
    """An evaluation on the validation split. A repetition of a step that was reported gets the same decision."""

    step: int = Field(ge=1, lt=2**31)
    micro_batch: MicroBatch | None = None
    metrics: Metrics
    seconds: Seconds = 0  # busy with this attempt so far
    peak_memory_bytes: Bytes | None = None
    examples_per_second: Speed | None = None
    resume: FileRef | None = None  # the checkpoint from which another worker can continue
    best: FileRef | None = None  # set when this step's weights are the trial's best so far


class Renewal(LeaseMessage):
    """A message that extends the lease between reports."""


class Outcome(LeaseMessage):
    """The end of the work on an assignment."""

    # released: given back by a worker that ends, to be continued elsewhere. lost: the child process died during it.
    # paused: as a decision said; `resume` is the file to go on from, after the last evaluation.
    status: Literal["complete", "pruned", "failed", "released", "lost", "paused"]
    reason: Reason | None = None
    problem: DataProblem | None = None
    micro_batch: MicroBatch | None = None
    seconds: Seconds = 0
    peak_memory_bytes: Bytes | None = None
    examples_per_second: Speed | None = None
    inspection: Inspection | None = None
    evaluation: Evaluation | None = None
    comparison: Comparison | None = None
    prediction: Prediction | None = Field(None, exclude_if=lambda found: found is None)
    onnx: OnnxExport | None = Field(None, exclude_if=lambda found: found is None)
    resume: FileRef | None = Field(None, exclude_if=lambda ref: ref is None)


class Answer(Message):
    """The service's answer to a report or a renewal."""

    decision: Decision
    lease_seconds: float
