"""Findings: what an inspection found remarkable in a study's data and models, one entry for each kind.

The inspecting worker makes them; the service stores them with the inspection, and shows them in plans and studies.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from luthier.studies.wire import Count, Message, Sentence, cut

MOST_FINDINGS = 100  # of an inspection
EXAMPLES = 10
EXAMPLE_CHARACTERS = 200


class Severity(StrEnum):
    """The weight of a finding."""

    NOTE = "note"  # good to know; nothing need be done
    WARNING = "warning"  # scores or the winner may mislead; `dataset.strict` refuses it


def _few(examples: list[str]) -> list[str]:
    return [cut(text.replace("\0", "\N{REPLACEMENT CHARACTER}"), EXAMPLE_CHARACTERS) for text in examples[:EXAMPLES]]


class Finding(Message):
    """Something remarkable about the data or a model of a study.

    Attributes:
        code: The kind, for programs: one of those in docs/findings.md.
        severity: Whether it asks for a look.
        count: How many rows, files, labels or the like it is about; 0 where nothing is counted.
        message: A sentence for people, with the numbers.
        examples: The first few of what is counted, as a person would find them again.
        cure: A sentence that says what to do; empty where nothing need be done.
    """

    code: str = Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")
    severity: Severity
    count: Count = 0
    message: Sentence
    examples: Annotated[list[str], AfterValidator(_few)] = Field(default_factory=list)
    cure: Sentence = ""

    @property
    def text(self) -> str:
        """The message and its cure, as one text."""
        return f"{self.message} {self.cure}".rstrip()


def note(code: str, message: str, count: int = 0, examples: Iterable[object] = (), cure: str = "") -> Finding:
    """Return a finding that is good to know. The arguments are the attributes of `Finding`."""
    return _finding(Severity.NOTE, code, message, count, examples, cure)


def warning(code: str, message: str, cure: str, count: int = 0, examples: Iterable[object] = ()) -> Finding:
    """Return a finding that asks for a look. The arguments are the attributes of `Finding`."""
    return _finding(Severity.WARNING, code, message, count, examples, cure)


def _finding(severity: Severity, code: str, message: str, count: int, examples: Iterable[object], cure: str) -> Finding:
    shown = [str(example) for example, _ in zip(examples, range(EXAMPLES), strict=False)]
    return Finding(code=code, severity=severity, count=count, message=message, examples=shown, cure=cure)


def warnings_of(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that ask for a look."""
    return [finding for finding in findings if finding.severity is Severity.WARNING]
