"""Findings of one kind, for tests."""

from typing import Protocol

from luthier.studies.findings import Finding


class Found(Protocol):
    """Data, or an inspection of it."""

    @property
    def findings(self) -> "tuple[Finding, ...] | list[Finding]":
        """What was found."""
        ...


def about(found: Found, *codes: str) -> list[Finding]:
    """Return the findings with one of these codes."""
    return [finding for finding in found.findings if finding.code in codes]
