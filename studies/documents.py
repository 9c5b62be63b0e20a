"""Documents that people write: their base class, parsing of YAML and JSON, refusal of wrong values.

Specs and schedules are documents. Each problem names the path of the value, as in `space.learning_rate.low`. The
service and the command line read them with `load_document`, so that both refuse the same.
"""

import json
import math
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from luthier.studies.markup import MAX_DEPTH, MAX_VALUES, KeyTwice, NoJson, parse_json, parse_yaml
from luthier.studies.text import one_line

MAX_BYTES = 2**18  # of a document

Path = tuple[str | int, ...]  # of a value in a document: keys, and positions in lists


class Document(BaseModel):
    """A document of a user's, or a part of one: unknown keys are refused, and it is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def near_key(document: type[Document], path: Path) -> str | None:
    """Return the known key that an unknown one looks like; None where there is none, or the path leads elsewhere.

    Args:
        document: The kind of the whole document.
        path: Of the unknown key within it.
    """
    part: Any = document
    for key in path[:-1]:
        field = _fields(part).get(str(key))
        parts = _documents_of(field.annotation) if field is not None else []
        if len(parts) != 1:
            return None
        part = parts[0]
    return next(iter(get_close_matches(str(path[-1]), list(_fields(part)))), None)


def _fields(document: type[Document]) -> dict[str, FieldInfo]:
    """Return the fields of a kind of document by the keys that people write."""
    return {field.alias or name: field for name, field in document.model_fields.items()}


def _documents_of(annotation: Any) -> list[type[Document]]:
    """Return the kinds of documents that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Document):
        return [annotation]
    return [part for inner in get_args(annotation) for part in _documents_of(inner)]


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


class DocumentError(ValueError):
    """A text is no document: its sentence says why, and what to do.

    Attributes:
        path: of the fault within the document; empty where it concerns the text as a whole.
        fault: what is wrong with the value at the path, and what to do.
    """

    def __init__(self, message: str, path: Path = (), kind: str = "YAML or JSON", fault: str | None = None) -> None:
        """Set the sentence, the path and the fault; `kind` is what the text should be."""
        super().__init__(f"not valid {kind}: {message}")
        self.path = path
        self.fault = fault or message


def decode(content: bytes) -> str:
    """Return a document's bytes as text: UTF-8, or UTF-16 and UTF-32 as JSON knows them. Raises DocumentError."""
    try:
        return content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        text = f"it must be UTF-8 text, and byte {error.start} is not; save it as UTF-8"
        raise DocumentError(text) from None


def load_document(text: str) -> Any:
    """Parse JSON or YAML 1.2, bounded: no more than MAX_BYTES, and limits of `markup` on values and nesting.

    What begins with a brace and is JSON is read as JSON; JSON is a subset of YAML, but for tabs and for characters that
    it writes as two escapes. All else is YAML.

    Raises:
        ValueError: A sentence, with the line where there is one; DocumentError where the text cannot be parsed;
            pydantic's ValidationError for a value that no document may hold.
    """
    text = text.removeprefix("\ufeff")  # the mark that some editors put before UTF-8
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise ValueError(f"a document has at most {MAX_BYTES // 1024} KB, and this one has {size // 1024 + 1}")
    try:
        document = _parse(text)
    except KeyTwice as error:
        raise DocumentError(str(error), error.path, fault=KeyTwice.FAULT) from None
    except ValueError as error:
        raise DocumentError(one_line(error, None)) from None
    _check_values(document)
    return document


def mapping_of(text: str, what: str) -> dict[str, Any]:
    """Return a document that must be a mapping. Raises ValueError as `load_document`; `what` says what it should be."""
    document = load_document(text)
    if isinstance(document, dict) and all(isinstance(key, str) for key in document):
        return document
    found = {type(None): "nothing in it, or null", list: "a list", dict: "a mapping with keys that are not words"}
    raise ValueError(f"{what}; this text is {found.get(type(document), 'a single value')}")


def parse_message(text: str) -> dict[str, Any]:
    """Parse a message in JSON: an object, without numbers that JSON does not have.

    Raises:
        DocumentError: With the path of the fault where it has one.
    """
    try:
        message = parse_json(text.removeprefix("\ufeff"))
    except KeyTwice as error:
        raise DocumentError(str(error), error.path, "JSON", KeyTwice.FAULT) from None
    except ValueError as error:
        raise DocumentError(_cut_off(text, one_line(error, None)), kind="JSON") from None
    if not isinstance(message, dict):
        found = {type(None): "null", list: "a list"}.get(type(message), "a single value")
        raise DocumentError(f'the body must be an object, as {{"key": "value"}}, and is {found}', kind="message")
    for _, path, fault in _walk(message):
        if fault is not None:
            raise DocumentError(f"{'.'.join(map(str, path))[:200]} {fault}", path, "JSON", fault)
    return message


def _cut_off(text: str, problem: str) -> str:
    """Return the problem of a JSON text, with the likely cause where it ends before its brackets are closed."""
    return f"{problem}; the text ends before its brackets are closed: send all of it" if _is_cut(text) else problem


def _is_cut(text: str) -> bool:
    """Return whether a JSON text ends inside of a string, an object or a list."""
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", text, flags=re.DOTALL)
    return '"' in outside or sum(outside.count(c) for c in "{[") > sum(outside.count(c) for c in "}]")


def _parse(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return parse_yaml(text)
    try:
        return parse_json(text)
    except NoJson as no_json:
        try:
            return parse_yaml(text)  # a flow mapping of YAML begins in the same way
        except ValueError as no_yaml:
            if isinstance(no_yaml, KeyTwice) or not text.lstrip("[{ \t\r\n").startswith('"'):
                raise
            raise ValueError(_cut_off(text, str(no_json))) from None


def _check_values(document: Any) -> None:
    """Raise ValueError for too many values or levels, and ValidationError for one that no document may hold."""
    for count, path, text in _walk(document, is_stored=True):
        if text is not None:
            raise refuse("document", (path, text))
        if count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise ValueError(f"a document has at most {MAX_VALUES} values, in {MAX_DEPTH} levels")


def _walk(document: Any, is_stored: bool = False) -> Iterator[tuple[int, Path, str | None]]:
    """Yield for each value how many values there are so far, its path, and why nothing can hold it, or None.

    Args:
        document: The parsed document, or a message.
        is_stored: Its texts are stored as they are; Postgres stores no NUL.
    """
    waiting: list[tuple[Path, Any]] = [((), document)]
    count = 0
    while waiting:
        path, value = waiting.pop()
        count += 1
        text = None
        if isinstance(value, dict):
            waiting += [(path, key) for key in value]
            waiting += [((*path, key if isinstance(key, int) else str(key)), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, i), item) for i, item in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            text = "must be a finite number"
        elif isinstance(value, str) and not value.isascii() and re.search("[\ud800-\udfff]", value):
            text = "must be text; it holds half of a surrogate pair"
        elif is_stored and isinstance(value, str) and "\0" in value:
            text = "must be text; it holds the character NUL, which is none"
        yield count + len(waiting), path, text
