"""Documents that people write: their base class, parsing of YAML and JSON, refusal of wrong values.

Specs and schedules are documents. Each problem names the path of the value, as in `space.learning_rate.low`. The
service and the command line read them with `load_document`, so that both refuse the same.
"""

import json
import math
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from luthier.studies.markup import MAX_DEPTH, MAX_VALUES, parse_json, parse_yaml
from luthier.studies.text import one_line

MAX_BYTES = 2**18  # of a document

Path = tuple[str | int, ...]  # of a value in a document: keys, and positions in lists


class Document(BaseModel):
    """A document of a user's, or a part of one: unknown keys are refused, and it is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def error_details(path: Path, text: str) -> list[InitErrorDetails]:
    """Return pydantic's form of one problem: the value at `path` is wrong, and `text` says what would be right."""
    return [InitErrorDetails(type=PydanticCustomError("value", "{text}", {"text": text}), loc=path, input=None)]


def refuse(title: str, *problems: tuple[Path, str]) -> ValidationError:
    """Return the error to raise for wrong values; pydantic puts the path of the part that raises it before theirs.

    Args:
        title: The name of the document or of its part.
        problems: A path within it and a text that says what would be right, for each wrong value.
    """
    return ValidationError.from_exception_data(
        title, [detail for path, text in problems for detail in error_details(path, text)]
    )


def load_document(text: str) -> Any:
    """Parse JSON or YAML 1.2, bounded: no more than MAX_BYTES, and limits of `markup` on values and nesting.

    What begins with a brace and is JSON is read as JSON; JSON is a subset of YAML, but for tabs and for characters that
    it writes as two escapes. All else is YAML.

    Raises:
        ValueError: A sentence, with the line where there is one; pydantic's ValidationError for a value that no
            document may hold.
    """
    text = text.removeprefix("\ufeff")  # the mark that some editors put before UTF-8
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise ValueError(f"a document has at most {MAX_BYTES // 1024} KB, and this one has {size // 1024 + 1}")
    try:
        document = _parse(text)
    except ValueError as error:
        raise ValueError(f"not valid YAML or JSON: {one_line(error, None)}") from None
    _check_values(document)
    return document


def _parse(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return parse_yaml(text)
    try:
        return parse_json(text)
    except json.JSONDecodeError as no_json:
        try:
            return parse_yaml(text)  # a flow mapping of YAML begins in the same way
        except ValueError:
            if text.lstrip("[{ \t\r\n").startswith('"'):
                raise no_json from None
            raise


def _check_values(document: Any) -> None:
    """Raise ValueError for too many values or levels, and ValidationError for one that no document may hold."""
    count = 0
    waiting: list[tuple[Path, Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting += [(path, key) for key in value]
            waiting += [((*path, key if isinstance(key, int) else str(key)), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, i), item) for i, item in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            raise refuse("document", (path, "must be a finite number"))
        elif isinstance(value, str) and not value.isascii() and re.search("[\ud800-\udfff]", value):
            raise refuse("document", (path, "must be text; it holds half of a surrogate pair"))
        if count + len(waiting) > MAX_VALUES or len(path) > MAX_DEPTH:
            raise ValueError(f"a document has at most {MAX_VALUES} values, in {MAX_DEPTH} levels")
