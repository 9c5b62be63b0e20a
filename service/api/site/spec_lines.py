"""The lines of a document that its faults are on, for an editor that shows each fault beside its line.

A fault names a path; the parsed tree knows the line where each key and value begins. A text that is not YAML names its
line itself.
"""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from luthier.service.schemas import Fault

LINE = re.compile(r"\bline (\d+)\b")
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def lines_of(text: str, faults: Sequence[Fault]) -> list[tuple[int, Fault]]:
    """Return each fault with its line, from 1; a fault of the document as a whole is on the first.

    Args:
        text: YAML or JSON, of a size and depth that a parser has accepted or refused before.
        faults: what is wrong with it.
    """
    try:
        root = yaml.compose(text, Loader=Loader) if any(fault.path for fault in faults) else None
    except (yaml.YAMLError, RecursionError, ValueError):
        root = None
    return [(_line(root, fault), fault) for fault in faults]


def _line(root: Any, fault: Fault) -> int:
    said = LINE.search(fault.message)
    if root is None or not fault.path:
        return int(said[1]) if said and len(said[1]) < 7 else 1
    node, line = root, root.start_mark.line
    for part in fault.path.split("."):
        below = _below(node, part)
        if below is None:
            break
        line, node = below
    return int(line) + 1


def _below(node: Any, part: str) -> tuple[int, Any] | None:
    """Return the line of a key or of a place in a list, and its node; None where the document has none."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if getattr(key, "value", None) == part:
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
        return node.value[int(part)].start_mark.line, node.value[int(part)]
    return None
