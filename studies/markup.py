"""YAML and JSON text as plain values, for `documents.load_document`: bounded in size, and without surprises.

YAML is that of version 1.2 with its core schema, as JSON knows it: `yes` is text, 1e-6 a number. What version 1.1 reads
as another number (010 as 8, 1:30 as 90, 1_000 as 1000) is refused with a sentence, for both readings would surprise
somebody. libyaml's scanner (C, from PyYAML, which Optuna needs anyway) gives events, from which the values are built
here: PyYAML's own constructors are pure Python, know YAML 1.1 only, and expand nothing within limits.
"""

import json
import math
import re
from collections.abc import Hashable, Iterator
from typing import Any, NoReturn

import yaml

from luthier.studies.syntax import json_fault, yaml_fault

MAX_VALUES = 10_000  # of a document: mappings, lists, keys and scalars, each alias with all that it stands for
MAX_DEPTH = 50  # of mappings and lists inside each other
MAX_DIGITS = 400  # of a whole number: a float holds 309
MAX_DIRECTIVES = 10  # lines that start with %: libyaml takes seconds for thousands

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {"inf": math.inf, "+inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_UNDERSCORES = re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?)")
_TAGS = (None, "!", "tag:yaml.org,2002:str")


def parse_json(text: str) -> Any:
    """Parse JSON. Raises ValueError with a sentence; `KeyTwice` where a mapping has a key twice."""
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_int=_integer)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise NoJson(json_fault(error)) from None
    doubled = _doubled(value)
    if doubled is not None:
        raise KeyTwice(doubled.path)
    return value


class NoJson(ValueError):
    """A text is no JSON; the message says where, why, and the cure."""


class KeyTwice(ValueError):
    """A mapping has a key twice, of which readers take one or the other.

    Attributes:
        path: of the key; the places of a list are numbers.
    """

    FAULT = "is given twice; leave one of the two out"

    def __init__(self, path: tuple[str | int, ...], line: int | None = None) -> None:
        """Set the path, and the line where it is known."""
        where = ".".join(map(str, path))[-200:] if line is None else f"line {line}: {path[-1]}"
        super().__init__(f"{where} {self.FAULT}")
        self.path = path


class _Doubled:
    """Stands for a JSON value with a doubled key in it, while the values around it are still read."""

    def __init__(self, path: tuple[str | int, ...]) -> None:
        self.path = path


def parse_yaml(text: str) -> Any:
    """Parse YAML 1.2 of a single document. Raises ValueError with a sentence that names the line."""
    if text.count("\n%") > MAX_DIRECTIVES:
        raise ValueError("a line that starts with % is a directive of YAML, and a document needs none")
    try:
        return _Builder(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))).document()
    except yaml.YAMLError as error:
        raise ValueError(yaml_fault(error, text)) from None
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise ValueError(f"line {line}: it holds half of a surrogate pair; write the whole character") from None


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return _Doubled((twice[:100],))
    for key, value in pairs:
        inner = _doubled(value)
        if inner is not None:
            return _Doubled((key[:100], *inner.path))
    return values


def _doubled(value: Any) -> _Doubled | None:
    """Return the doubled key in a value whose mappings have been read; the path begins in the value."""
    if isinstance(value, _Doubled):
        return value
    if isinstance(value, list):
        for i, item in enumerate(value):
            inner = _doubled(item)
            if inner is not None:
                return _Doubled((i, *inner.path))
    return None


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS + 1:
        raise ValueError(f"a whole number has at most {MAX_DIGITS} digits")
    return int(digits)


class _Builder:
    """Builds values from the events of one document; it counts them, so that aliases cannot multiply them."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._count = 0
        self._path: list[str | int] = []  # of the value that is being read
        self._anchors: dict[str, tuple[Any, int]] = {}  # anchor -> its value, and the number of values that it holds

    def document(self) -> Any:
        """Return the value of the only document; None for an empty text. Raises ValueError and YAMLError."""
        value = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "a second document begins; a file holds one")
                value = self._value(next(self._events), 0)
        return value

    def _value(self, event: Any, depth: int) -> Any:
        """Return the value that begins with `event`, `depth` levels inside others."""
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                self._refuse(event, f"*{event.anchor} names nothing above it")
            value, count = self._anchors[event.anchor]
            self._add(event, count)
            return value
        before = self._count
        self._add(event, 1)
        if depth > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        if event.tag not in _TAGS:
            self._refuse(event, f"the tag {event.tag[:100]} is not known; write the value without it")
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event) if event.tag is None and not event.style else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._list(depth)
        else:
            value = self._mapping(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._count - before)
        return value

    def _list(self, depth: int) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            self._path.append(len(values))
            values.append(self._value(event, depth + 1))
            self._path.pop()
        return values

    def _mapping(self, depth: int) -> dict[Any, Any]:
        values: dict[Any, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._value(event, depth + 1)
            if not isinstance(key, Hashable):
                self._refuse(event, "a key is a word or a number")
            if key == "<<":
                self._refuse(event, "<< belongs to YAML 1.1; write its keys here")
            self._path.append(key if isinstance(key, int) else str(key)[:100])
            if key in values:
                raise KeyTwice(tuple(self._path), event.start_mark.line + 1)
            values[key] = self._value(next(self._events), depth + 1)
            self._path.pop()
        return values

    def _scalar(self, event: Any) -> Any:
        """Return a plain scalar by the core schema of YAML 1.2; refuse what version 1.1 reads as another number."""
        text = event.value
        if _NULL.fullmatch(text):
            return None
        if text in _BOOL:
            return _BOOL[text]
        if text[0] not in "+-.0123456789":
            return text
        if _INT.fullmatch(text):
            return self._whole(event, text)
        if _OCTAL.fullmatch(text):
            self._refuse(event, f"{text[:100]} would be octal for some; write {_without_zeros(text)}, or 0o for octal")
        if _FLOAT.fullmatch(text):
            return float(text)
        if (special := _SPECIAL.get(text.lower().replace(".", "", 1))) is not None and "." in text[:2]:
            return special
        if _SEXAGESIMAL.fullmatch(text):
            cure = "write the number of seconds, or put quotes around a text"
            self._refuse(event, f"{text[:100]} would be a number in base 60 for some; {cure}")
        if _UNDERSCORES.fullmatch(text):
            cure = "write a number in plain digits, or put quotes around a text"
            self._refuse(event, f"{text[:100]} would be a number for some; {cure}")
        return text

    def _whole(self, event: Any, text: str) -> int:
        if len(text) > MAX_DIGITS + 1:
            self._refuse(event, f"a whole number has at most {MAX_DIGITS} digits")
        return int(text, 0)

    def _add(self, event: Any, count: int) -> None:
        self._count += count
        if self._count > MAX_VALUES:
            self._refuse(event, f"more than {MAX_VALUES} values, those of aliases included")

    @staticmethod
    def _refuse(event: Any, text: str) -> NoReturn:
        raise ValueError(f"line {event.start_mark.line + 1}: {text}")


def _without_zeros(text: str) -> str:
    """Return a whole number as a person would write it: without leading zeros and underscores."""
    sign = text[0] if text[0] in "+-" else ""
    return sign + (text.lstrip("+-0").replace("_", "").lstrip("0")[:20] or "0")
