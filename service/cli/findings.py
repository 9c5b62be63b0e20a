"""The findings about a study's data and models as a table, for `luthier plan` and `luthier get`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from luthier.service.cli.output import table

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.studies.findings import Finding

SHOWN = 3  # examples; programs get all of them


def findings_tables(findings: Sequence["Finding"]) -> Iterator["Table"]:
    """Yield a table with a row for each finding, warnings first; nothing where nothing was found."""
    ordered = sorted(findings, key=lambda finding: finding.severity.value, reverse=True)
    rows = [(f"{finding.severity.value}: {finding.code}", finding.count or None, _said(finding)) for finding in ordered]
    if rows:
        yield table(("finding", ">count", ""), rows, title="Findings")


def _said(finding: "Finding") -> str:
    """Return a finding's text, with the first examples that it does not name itself."""
    further = [example for example in finding.examples if example not in finding.text][:SHOWN]
    return f"{finding.text} For example: {'; '.join(further)}." if further else finding.text
