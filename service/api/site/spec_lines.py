"""The lines of a document that its faults are on, for an editor that shows each fault beside its line.

A fault names a path; the parser's events tell the line on which each key and each item of a list begins. They are read
one by one: a tree of them would be built by recursion in C, which a text of many brackets ends the whole process with.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from luthier.service.schemas import Fault
from luthier.studies.markup import MAX_DEPTH

LINE = re.compile(r"\bline (\d{1,6})\b")
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class _Open:
    """A mapping or a list that has begun; `part` is the key or the position that comes next, None before a key."""

    path: str
    is_list: bool
    part: str | None


def lines_of(text: str, faults: Sequence[Fault]) -> list[tuple[int, Fault]]:
    """Return each fault with its line, from 1; a fault of the document as a whole is on the first.

    Args:
        text: YAML or JSON.
        faults: what is wrong with it.
    """
    lines: dict[str, int] = {}
    if any(fault.path for fault in faults):
        try:
            for path, line in _places(text):
                lines.setdefault(path, line)
        except (yaml.YAMLError, ValueError):
            lines = {}
    return [(_line(lines, fault), fault) for fault in faults]


def _line(lines: dict[str, int], fault: Fault) -> int:
    said = LINE.search(fault.message)
    if said and (not lines or not fault.path):
        return int(said[1])
    path = fault.path
    while path and path not in lines:
        path = path.rpartition(".")[0]  # what is missing is beside what lacks it
    return lines.get(path, 1)


def _places(text: str) -> Iterator[tuple[str, int]]:
    """Yield the path of each key and item of a document, and its line; what lies too deep ends it."""
    above: list[_Open] = []
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            above.pop()
        elif isinstance(event, yaml.NodeEvent):
            inside = above[-1] if above else None
            if inside is not None and inside.part is None and not inside.is_list:
                key = str(event.value) if isinstance(event, yaml.ScalarEvent) else ""
                inside.part = f"{inside.path}.{key}" if inside.path else key
                yield inside.part, _number(event)
                if isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
                    continue
            path = _begun(inside)
            if inside is not None and inside.is_list:
                yield path, _number(event)
            if isinstance(event, yaml.CollectionStartEvent):
                above.append(_Open(path, isinstance(event, yaml.SequenceStartEvent), None))
            if len(above) > MAX_DEPTH:
                return


def _number(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark is not None else 1


def _begun(inside: _Open | None) -> str:
    """Return the path of the value that begins now, and expect the next one."""
    if inside is None:
        return ""
    if not inside.is_list:
        path, inside.part = str(inside.part), None
        return path
    position = inside.part or "0"
    inside.part = str(int(position) + 1)
    return f"{inside.path}.{position}" if inside.path else position
