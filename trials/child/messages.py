"""Messages between a worker and its child: JSON lines over a socket pair, one message a line.

The worker's relay and the child's connection call it. No message carries a lease token: only the worker, which speaks
to the service, needs one.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, field_validator

from luthier.studies.protocol import Assignment, DataProblem, Decision, Reason
from luthier.studies.results import Comparison, Evaluation, Inspection, OnnxExport, Prediction
from luthier.studies.wire import Bytes, FileRef, Message, Metrics, MicroBatch, Speed

LINE_BYTES = 64 * 2**20  # the longest line: an assignment whose inspection lists very many labels


class Start(Message):
    """To the child: do this assignment. Its files are read from and written to `folder`.

    The assignment's lease token is removed, whoever makes the message.
    """

    what: Literal["start"] = "start"
    assignment: Assignment
    folder: str
    datasets: dict[str, str] = Field({})  # id of an uploaded data set -> the folder on this machine with its files

    @field_validator("assignment")
    @classmethod
    def _without_token(cls, assignment: Assignment) -> Assignment:
        return assignment.model_copy(update={"token": ""})


class Decided(Message):
    """To the child: the service's answer to the report of `step`, or, without a step, to a renewal."""

    what: Literal["decided"] = "decided"
    id: int  # of the assignment: an answer may come after the child has begun the next one
    step: int | None = None
    decision: Decision


class Ready(Message):
    """From the child: its libraries are imported, and it can start."""

    what: Literal["ready"] = "ready"


class Unfit(Message):
    """From the child, which then ends: it cannot work on this machine, and neither could another child."""

    what: Literal["unfit"] = "unfit"
    problem: str  # a sentence with the cure


class Evaluated(Message):
    """From the child: an evaluation on the validation split, whose files are complete.

    The worker makes the service's `Report` of it.
    """

    what: Literal["evaluated"] = "evaluated"
    step: int = Field(ge=1, lt=2**31)
    metrics: Metrics
    resume: FileRef | None = None
    best: FileRef | None = None  # given when this step's weights are the trial's best so far
    examples_per_second: Speed | None = None
    peak_memory_bytes: Bytes | None = None
    micro_batch: MicroBatch | None = None


class Logged(Message):
    """From the child: a line for the assignment's log."""

    what: Literal["log"] = "log"
    text: str


class Held(Message):
    """From the child: it waits for room on its disk now, for so long; that is no time of training."""

    what: Literal["held"] = "held"
    seconds: float


class Result(Message):
    """The end of an assignment, and its results. The worker makes the service's `Outcome` of it.

    A child's result is complete, pruned, paused or failed, or released where the disk stays full; a worker itself says
    `released` and `lost`.
    """

    status: Literal["complete", "pruned", "failed", "released", "lost", "paused"]
    reason: Reason | None = None
    problem: DataProblem | None = None
    micro_batch: MicroBatch | None = None
    examples_per_second: Speed | None = None
    peak_memory_bytes: Bytes | None = None
    inspection: Inspection | None = None
    evaluation: Evaluation | None = None
    comparison: Comparison | None = None
    prediction: Prediction | None = None
    onnx: OnnxExport | None = None
    resume: FileRef | None = None  # paused: the file to go on from


class End(Message):
    """From the child: the assignment has ended. The child waits for the next one, unless it asks to be replaced."""

    what: Literal["end"] = "end"
    result: Result
    replace: bool = False
    resident_bytes: int | None = None  # memory that the idle process holds now; None where that is not known


ToChild = Start | Decided
FromChild = Ready | Unfit | Evaluated | Logged | Held | End
_TO_CHILD: TypeAdapter[ToChild] = TypeAdapter(Annotated[ToChild, Field(discriminator="what")])
_FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="what")])


def encode(message: ToChild | FromChild) -> bytes:
    """Return a message as one line. JSON escapes line ends inside texts, so the last byte is the only newline."""
    return message.model_dump_json().encode() + b"\n"


def to_child(line: bytes) -> ToChild:
    """Parse a line in the child.

    Raises:
        ValueError: The line is no message to a child.
    """
    return _TO_CHILD.validate_json(line)


def from_child(line: bytes) -> FromChild:
    """Parse a line in the worker.

    Raises:
        ValueError: The line is no message from a child.
    """
    return _FROM_CHILD.validate_json(line)
