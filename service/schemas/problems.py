"""Errors, as the REST interface answers them; and the faults of a pydantic error."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from luthier.studies.hyperparameters import HYPERPARAMETERS

_MAPPING = "must be a mapping of keys to values"
_WORDS = {  # pydantic's type of an error -> what would be right, where its own message speaks of Python
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "finite_number": "must be a finite number",
}
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
            message=_message(error),
        )
        for error in found[:MAX_FAULTS]
    ]
    more = len(found) - len(faults)
    return [*faults, Fault(path="", message=f"and {more} more")] if more else faults


def _message(error: Mapping[str, Any]) -> str:
    """Return what is wrong with the value of one of pydantic's errors, in words for people."""
    kind, text = error["type"], error["msg"].removeprefix("Value error, ")
    if kind == "model_attributes_type" and isinstance(error.get("input"), bytes):
        return "must be JSON: send it with the header Content-Type: application/json"
    if kind == "missing" and error["loc"] == ("body",):
        return 'the body is missing; send an object, as {"key": "value"}'
    text = _WORDS.get(kind, text)
    if kind == "extra_forbidden" and error["loc"][-1] in HYPERPARAMETERS:
        text += "; hyperparameters stand in space"
    if text.startswith("Input should be "):
        text = f"must be {text.removeprefix('Input should be ')}"
    is_null = "input" in error and error["input"] is None and kind.endswith(("_type", "_error", "enum"))
    return f"{text}, and is null" if is_null else text
