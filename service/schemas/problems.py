"""Errors, as the REST interface answers them; and the faults of a pydantic error."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from luthier.studies.documents import near_key
from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.spec_keys import NAME_PATTERN
from luthier.studies.wire import METRIC_NAME, WORKER_NAME

_MAPPING = "must be a mapping of keys to values"
_TIME = "must be a time with its zone, as 2027-01-31T12:00:00Z"
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
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "timezone_aware": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_type": _TIME,
    "too_short": "must have at least {min_length} entries, and has {actual_length}",
    "too_long": "must have at most {max_length} entries, and has {actual_length}",
}
_PATTERNS = {  # a pattern -> what it asks for
    NAME_PATTERN: "must be a name of lowercase letters, digits and hyphens, of 63 characters at most, such as my-study",
    WORKER_NAME: "must be a name of letters, digits and . _ : @ -, of 128 characters at most, such as gpu-box-1",
    METRIC_NAME: "is no name of a metric: write at most 64 letters, digits and _ . @ / -, without spaces, as eval_loss",
}
_KINDS = ("float", "int", "str", "bool")  # how pydantic's path ends for a value that may be of several kinds
_NULL = ", and is null"
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
    found: dict[tuple[str | int, ...], list[Mapping[str, Any]]] = {}
    for error in errors:
        loc = tuple(error["loc"])
        loc = loc[:-1] if loc and loc[-1] == "[key]" else loc  # of a mapping, as pydantic marks a name that is wrong
        whole = loc[:-1] if len(loc) > skip + 1 and loc[-1] in _KINDS and error["type"].endswith("_type") else loc
        found.setdefault(whole, []).append(error)
    told = [
        Fault(path=".".join(map(str, loc[skip:])), message=text)
        for loc, at_path in found.items()
        for text in _messages(at_path, loc[skip:])
    ]
    more = len(told) - MAX_FAULTS
    return [*told[:MAX_FAULTS], Fault(path="", message=f"and {more} more")] if more > 0 else told


def _messages(errors: Sequence[Mapping[str, Any]], path: tuple[str | int, ...]) -> list[str]:
    """Return what is wrong with the value at a path; one sentence where each kind that it may be of was refused."""
    texts = list(dict.fromkeys(_message(error) for error in errors))
    if errors[0]["type"] == "extra_forbidden":
        return [texts[0] + _suggested_key(path)]
    if len(texts) > 1 and all(text.startswith("must be ") for text in texts):
        nulls = [text.removesuffix(_NULL) for text in texts]
        joined = " or ".join([nulls[0], *(text.removeprefix("must be ") for text in nulls[1:])])
        return [joined + (_NULL if nulls[0] != texts[0] else "")]
    return texts


def _suggested_key(path: tuple[str | int, ...]) -> str:
    """Return where an unknown key belongs, or the known one that it looks like, as the end of a sentence; or ""."""
    if path[-1] in HYPERPARAMETERS:
        return "; hyperparameters stand in space"
    from luthier.studies.schedule import ScheduleSpec
    from luthier.studies.spec import StudySpec

    for document in (StudySpec, ScheduleSpec):
        near = near_key(document, path)
        if near not in (None, path[-1]):  # a body's own unknown key may be a key of a spec
            return f"; did you mean {near}?"
    return ""


def _message(error: Mapping[str, Any]) -> str:
    """Return what is wrong with the value of one of pydantic's errors, in words for people."""
    kind, text = str(error["type"]), str(error["msg"]).removeprefix("Value error, ")
    if kind == "model_attributes_type" and isinstance(error.get("input"), bytes):
        return "must be JSON: send it with the header Content-Type: application/json"
    if kind == "missing" and error["loc"] == ("body",):
        return 'the body is missing; send an object, as {"key": "value"}'
    text = _WORDS.get(kind, text).format_map(error.get("ctx") or {}) if kind in _WORDS else text
    if kind == "string_pattern_mismatch":
        pattern = str(error["ctx"]["pattern"])
        text = _PATTERNS.get(pattern, f"must match the pattern {pattern}")
    if text.startswith("Input should be "):
        text = f"must be {text.removeprefix('Input should be ')}"
    is_null = "input" in error and error["input"] is None and kind.endswith(("_type", "_error", "enum"))
    return text + _NULL if is_null else text
