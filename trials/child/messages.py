"""What a worker and its child say to each other: JSON lines over a socket pair, one message a line."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from luthier.studies.protocol import Assignment, Decision, Outcome, Report
from luthier.studies.wire import Message

LINE_BYTES = 64 * 2**20  # the longest line: an assignment whose inspection lists very many labels


class Start(Message):
    """To the child: do this. Its files are read from and written to `folder`."""

    what: Literal["start"] = "start"
    assignment: Assignment
    folder: str


class Decided(Message):
    """To the child: the service's answer to the report of `step`, or, without a step, to a renewal."""

    what: Literal["decided"] = "decided"
    id: int
    step: int | None = None
    decision: Decision


class Ready(Message):
    """From the child: its libraries are imported, it can start."""

    what: Literal["ready"] = "ready"


class Unfit(Message):
    """From the child, which then ends: it cannot do its work on this machine, and neither could another child."""

    what: Literal["unfit"] = "unfit"
    problem: str  # a sentence


class Reported(Message):
    """From the child: one evaluation, whose files are whole. The worker adds `seconds` and `log`."""

    what: Literal["report"] = "report"
    report: Report


class Logged(Message):
    """From the child: a line for the assignment's log."""

    what: Literal["log"] = "log"
    text: str


class End(Message):
    """From the child: the assignment's outcome. The child waits for the next one, unless it asks to be replaced."""

    what: Literal["end"] = "end"
    outcome: Outcome
    replace: bool = False
    resident_bytes: int | None = None  # what the idle process holds now; None where that is not known


ToChild = Start | Decided
FromChild = Ready | Unfit | Reported | Logged | End
_TO_CHILD: TypeAdapter[ToChild] = TypeAdapter(Annotated[ToChild, Field(discriminator="what")])
_FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="what")])


def encode(message: ToChild | FromChild) -> bytes:
    """One line. JSON escapes line ends inside texts, so the last byte is the only newline."""
    return message.model_dump_json().encode() + b"\n"


def to_child(line: bytes) -> ToChild:
    """Parse a line in the child. Raises ValueError."""
    return _TO_CHILD.validate_json(line)


def from_child(line: bytes) -> FromChild:
    """Parse a line in the worker. Raises ValueError."""
    return _FROM_CHILD.validate_json(line)
