"""Docstrings in Google's style, taken apart for the reference pages."""

import inspect
import re
from dataclasses import dataclass, field

SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$")
ENTRY = re.compile(r"^ {4}(\w[\w., ]*): (.*)$")


@dataclass
class Docstring:
    """A docstring: its paragraphs, and the entries of each of its sections."""

    paragraphs: list[str] = field(default_factory=list)
    sections: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def parse(text: str) -> Docstring:
    """Return a docstring's parts; lines of a paragraph or an entry are joined, code keeps its lines."""
    parsed = Docstring()
    entries: list[tuple[str, str]] | None = None
    for block in filter(None, re.split(r"\n\s*\n", inspect.cleandoc(text))):
        lines = block.splitlines()
        if title := SECTION.match(lines[0]):
            entries, lines = parsed.sections.setdefault(title[1], []), lines[1:]
        elif not lines[0].startswith("    "):
            entries = None
        if entries is not None:
            _add(entries, lines)
        elif all(line.startswith("    ") for line in lines):
            parsed.paragraphs.append("```python\n" + inspect.cleandoc(block) + "\n```")
        else:
            parsed.paragraphs.append(" ".join(line.strip() for line in lines))
    return parsed


def _add(entries: list[tuple[str, str]], lines: list[str]) -> None:
    """Add the entries of a section; a line that begins none goes on with the entry before it."""
    for line in lines:
        if match := ENTRY.match(line):
            entries.append((match[1], match[2]))
        elif entries:
            name, words = entries.pop()
            entries.append((name, f"{words} {line.strip()}"))
