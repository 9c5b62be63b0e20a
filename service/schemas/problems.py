"""Errors, as the REST interface answers them; and the faults of a pydantic error."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

MAX_FAULTS = 20  # that an error lists; a document can hold thousands


class Fault(BaseModel):
    """A wrong value of a request.

    Attributes:
        path: of the value, as space.learning_rate.low; empty for the document as a whole.
        message: the fault and the cure.
    """

    path: str
    message: str

    def __str__(self) -> str:
        """Return `path: message`, or the message alone where it concerns the whole document."""
        return f"{self.path}: {self.message}" if self.path else self.message


class ProblemView(BaseModel):
    """An error, as `application/problem+json` (RFC 9457).

    Attributes:
        type: always about:blank: the status says what kind it is.
        title: the status in words.
        status: the HTTP status.
        detail: a sentence for people.
        errors: each wrong value; an extension member of this service.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[Fault] = []


def faults_of(errors: Iterable[Mapping[str, Any]], skip: int = 0) -> list[Fault]:
    """Return the path and message of pydantic's first MAX_FAULTS errors, and how many more there are.

    The input is not echoed.

    Args:
        errors: the result of `errors()` of a ValidationError.
        skip: so many leading parts of each path are dropped.
    """
    found = list(errors)
    faults = [
        Fault(
            path=".".join(str(part) for part in error["loc"][skip:]),
            message="unknown key" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, "),
        )
        for error in found[:MAX_FAULTS]
    ]
    more = len(found) - len(faults)
    return [*faults, Fault(path="", message=f"and {more} more")] if more else faults
